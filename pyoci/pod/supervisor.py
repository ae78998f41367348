# SPDX-License-Identifier: Apache-2.0
"""The process that runs one pod, from the sandbox's start to its end.

    sandbox ─> init containers, one after the other ─> containers, in order ─> ... ─> TERM in reverse ─> sandbox last

One thread, one poll(2): pidfds of the containers' processes, the pipes they print to, signals, the control socket.
It sleeps until one of them speaks or a time has come; nothing is asked for periodically.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pyoci import jsontext
from pyoci.errors import PyociError
from pyoci.pod import member, prepare, translate
from pyoci.pod.control import Server
from pyoci.pod.directory import Directory, now
from pyoci.pod.engine import Engine, reap
from pyoci.pod.member import TERMINATED, WAITING, Member
from pyoci.pod.model import Pod
from pyoci.pod.output import Output
from pyoci.pod.termination import KILL, TERM, Termination

_EVENTS = 256  # the newest events that the state keeps
_PAUSE = 5.0  # seconds for the sandbox to end on TERM; our pause needs microseconds
_DEAD = 10.0  # seconds for the kernel to end a process after KILL
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Audience:
    """Who looks on. The supervisor calls, from its one thread; nothing is expected back."""

    def line(self, name: str, stream: str, text: bytes) -> None:
        """A container printed a line."""

    def event(self, event: dict[str, Any]) -> None:
        """Something happened: time, container ("" for the pod), event, detail."""

    def ready(self, error: str) -> None:
        """Every container has been started (error is empty), or the pod failed before. At most once."""


class Supervisor:
    """Runs a pod whose directory is claimed already."""

    def __init__(self, pod: Pod, directory: Directory, engine: Engine, backoff: float, audience: Audience) -> None:
        """backoff: seconds of the first real restart delay."""
        self._pod, self._directory, self._engine, self._audience = pod, directory, engine, audience
        self._sandbox = member.make(pod.name, "sandbox", None, backoff)
        self._init = [member.make(pod.name, "init", spec, backoff) for spec in pod.init]
        self._containers = [member.make(pod.name, "container", spec, backoff) for spec in pod.containers]
        self._members = [self._sandbox, *self._init, *self._containers]
        self._facts = prepare.facts()
        self._places: translate.Places | None = None
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._output = Output(directory, self._printed)
        self._server: Server | None = None
        self._termination: Termination | None = None
        self._sandbox_end: Termination | None = None
        self._events: list[dict[str, Any]] = []
        self._told = False
        self._phase, self._failure = "Pending", ""
        self._created = now()
        self._started: float | None = None
        self._finished: float | None = None
        self._saved = ""

    def run(self) -> int:
        """Runs the pod to its end; 0 if every container ended well, else 1.

        Raises nothing that is the pod's fault: failures are in the state, in the events and in the exit status.
        """
        os.umask(0o022)
        wake, before = self._catch_signals()
        try:
            self._begin()
            while self._sandbox.running:
                self._advance(time.monotonic())
                self._save()
                self._wait()
        except (PyociError, OSError) as error:
            self._fail(str(error))
        finally:
            self._end()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for fd in wake:
                os.close(fd)
        return 1 if self._phase == "Failed" else 0

    # what happens, in its order

    def _begin(self) -> None:
        self._server = Server(self._directory)
        self._watch(self._server.listener.fileno(), self._accepted)
        self._save()
        self._places = prepare.places(self._pod, self._directory)
        self._start(self._sandbox)

    def _advance(self, at: float) -> None:
        """Does everything whose time has come."""
        if self._termination is None:
            self._start_what_is_due(at)
        if self._termination is not None:
            self._terminate(self._termination, at)

    def _start_what_is_due(self, at: float) -> None:
        for one in self._init:
            if one.status == TERMINATED and one.code == 0:
                continue
            if one.status == WAITING and (one.wake or 0.0) <= at:
                self._try_start(one)
            return
        for one in self._containers:
            if self._termination is None and one.status == WAITING and (one.wake or 0.0) <= at:
                self._try_start(one)
        if self._termination is not None:
            return
        if self._phase == "Pending":
            self._phase, self._started = "Running", now()
            self._ready("")
        if all(one.status == TERMINATED for one in self._containers):
            self._stop(0.0, "all containers have ended")

    def _terminate(self, termination: Termination, at: float) -> None:
        running = [one.name for one in [*self._init, *self._containers] if one.running]
        self._send(termination.due(running, at))
        if running:
            if at > termination.end + _DEAD:
                raise PyociError(f"containers do not end after KILL: {', '.join(running)}")
            return
        if self._sandbox_end is None:
            self._sandbox_end = Termination([self._sandbox.name], _PAUSE, at)
        self._send(self._sandbox_end.due([self._sandbox.name], at))
        if at > self._sandbox_end.end + _DEAD:
            raise PyociError(f"the sandbox, pid {self._sandbox.pid}, does not end after KILL")

    def _end(self) -> None:
        """Removes every trace but the directory; each step is done whatever became of the others."""
        steps: list[Callable[[], object]] = [partial(self._discard, one) for one in reversed(self._members)]
        steps.append(lambda: prepare.unmount(self._directory))
        steps.append(lambda: prepare.remove_cgroup(self._pod.name, self._engine.cgroup_manager))
        for step in steps:
            try:
                step()
            except (PyociError, OSError) as error:
                self._fail(f"clean up: {error}")
        started = [one for one in [*self._init, *self._containers] if one.starts]
        failed = self._failure or not all(one.peaceful for one in started)
        self._phase, self._finished = "Failed" if failed else "Succeeded", now()
        self._event("", "ended", self._phase)
        self._ready(self._failure or "stopped before all containers were started")
        try:
            self._save()
        except OSError:
            pass  # a full disk: who asks will see a pod whose supervisor is gone
        self._output.close()
        if self._server:
            self._server.close()

    # containers

    def _start(self, one: Member) -> None:
        """Makes the bundle, creates and starts the container. Raises PyociError or OSError, with nothing left."""
        assert self._places is not None
        if one.spec is None:
            config = translate.sandbox(self._pod, self._facts, self._places)
            image = prepare.sandbox_image(self._directory)
        else:
            config = translate.peer(self._pod, one.spec, self._sandbox.pid, self._facts, self._places)
            image = one.spec.image
        pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            bundle = prepare.bundle(self._directory, one.name, image, config)
            pid, pidfd = self._engine.launch(one.id, bundle, (null, pipes[0][1], pipes[1][1]))
        except (PyociError, OSError):
            for reader, _ in pipes:
                os.close(reader)
            prepare.remove_bundle(self._directory, one.name)
            raise
        finally:
            for fd in (null, *(writer for _, writer in pipes)):
                os.close(fd)
        for stream, (reader, _) in zip(("stdout", "stderr"), pipes, strict=True):
            self._output.add(one.name, stream, reader)
            self._watch(reader, self._readable)
        one.begin(pid, pidfd)
        self._watch(pidfd, lambda _: self._ended(one))
        self._event(one.name, "started", f"pid {pid}" + (f", restart {one.restarts}" if one.restarts else ""))

    def _try_start(self, one: Member) -> None:
        """Starts a container; what has never started fails the pod, what has is tried again later."""
        try:
            self._start(one)
        except (PyociError, OSError) as error:
            if not one.starts:
                self._fail(f"{one.kind if one.kind == 'container' else 'init container'} {one.name}: {error}")
                return
            one.end(128, "StartError")
            self._event(one.name, "start failed", str(error))
            self._decide(one)

    def _ended(self, one: Member) -> None:
        """The init of a container has ended: its status, its leftovers, and what comes next."""
        code = reap(one.pidfd, wait=False)
        if code is None:
            return
        signalled = one.signalled
        self._forget(one.pidfd)
        os.close(one.pidfd)
        one.end(code)
        self._event(one.name, "ended", member.words(code, signalled))
        self._clear(one)
        self._decide(one)

    def _clear(self, one: Member) -> None:
        """Removes the container and its root file system, and takes the last of what it printed."""
        try:
            self._engine.remove(one.id)
            for fd in self._output.last(one.name):
                self._forget(fd)
            prepare.remove_bundle(self._directory, one.name)
        except (PyociError, OSError) as error:
            self._event(one.name, "clean up failed", str(error))

    def _decide(self, one: Member) -> None:
        """What follows the end of a container: nothing, a restart, or the end of the pod."""
        if one is self._sandbox:
            if self._sandbox_end is None:
                self._fail(f"the sandbox ended: {member.words(one.code or 0, 0)}")
            return
        policy = self._pod.restart
        again = one.code != 0 if one.kind == "init" else policy == "Always" or one.code != 0
        if not again or self._termination is not None:
            return
        if policy == "Never":
            if one.kind == "init":
                self._fail(f"init container {one.name}: {member.words(one.code or 0, 0)}")
            return
        delay = one.backoff.delay(one.ran)
        one.again(time.monotonic() + delay)
        self._event(one.name, "back-off", f"{one.reason.lower()}, starts again in {delay:g} s")

    def _discard(self, one: Member) -> None:
        """At the very end, whatever happened before: no process, no container, no root file system."""
        if one.running:
            self._engine.remove(one.id)
            self._ended_by_force(one)
        self._engine.remove(one.id)
        prepare.remove_bundle(self._directory, one.name)

    def _ended_by_force(self, one: Member) -> None:
        one.signalled = KILL
        poll = select.poll()
        poll.register(one.pidfd, select.POLLIN)
        if not poll.poll(int(_DEAD * 1000)):
            raise PyociError(f"container {one.name}: pid {one.pid} does not end after KILL")
        code = reap(one.pidfd)
        os.close(one.pidfd)
        one.end(128 + KILL if code is None else code)
        self._output.last(one.name)
        self._event(one.name, "ended", member.words(one.code or 0, 0))

    # the end

    def _stop(self, grace: float, why: str) -> None:
        """Begins the pod's end, or shortens the grace period of one that has begun. grace: seconds."""
        at = time.monotonic()
        if self._termination is not None:
            self._termination.hasten(grace, at)
            return
        self._phase = "Terminating"
        self._event("", "stopping", why)
        names = [one.name for one in [*self._init, *self._containers]]
        self._termination = Termination(names, grace, at)
        for one in self._members:
            if one.status == WAITING and one.starts:
                one.status, one.wake = TERMINATED, None

    def _fail(self, why: str) -> None:
        """Notes the first failure and begins the end."""
        if not self._failure:
            self._failure = why
            self._event("", "failed", why)
        self._ready(why)
        self._stop(self._pod.grace, why)

    def _send(self, signals: list[tuple[int, str]]) -> None:
        for number, name in signals:
            one = next(one for one in self._members if one.name == name)
            one.signalled = number
            self._event(name, "TERM sent" if number == TERM else "KILL sent", "")
            self._engine.signal(one.id, number)

    # what comes in

    def _wait(self) -> None:
        """Sleeps until a descriptor speaks or the next deadline, and handles what came."""
        if not self._sandbox.running:
            return
        times = [one.wake for one in self._members if one.status == WAITING and one.wake is not None]
        for termination in (self._termination, self._sandbox_end):
            if termination is not None:
                following = termination.next()
                times.append(termination.end + _DEAD + 1 if following is None else following)
        timeout = None if not times else max(0, int((min(times) - time.monotonic()) * 1000) + 1)
        for fd, _ in self._poll.poll(timeout):
            if fd in self._handlers:
                self._handlers[fd](fd)

    def _watch(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)

    def _readable(self, fd: int) -> None:
        if not self._output.read(fd):
            self._forget(fd)

    def _printed(self, name: str, stream: str, text: bytes) -> None:
        self._audience.line(name, stream, text)
        if self._server:
            self._server.tell({"log": name})

    def _accepted(self, _: int) -> None:
        assert self._server is not None
        fd = self._server.accept()
        if fd >= 0:
            self._watch(fd, self._asked)

    def _asked(self, fd: int) -> None:
        assert self._server is not None
        request = self._server.receive(fd)
        if request is None:
            self._forget(fd)
        elif "stop" in request:
            grace = request["stop"]
            self._stop(float(grace if isinstance(grace, int) else self._pod.grace), "asked to stop")

    def _catch_signals(self) -> tuple[tuple[int, int], dict[int, Any]]:
        """Has TERM, INT and HUP arrive at the poll. Gives the pipe and the handlers that were there before."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {int(number): signal.signal(number, lambda *_: None) for number in _SIGNALS}
        # A reader of our output that goes away must not end the pod without its clean end.
        before[int(signal.SIGPIPE)] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(writer)
        self._watch(reader, self._signalled)
        return (reader, writer), before

    def _signalled(self, fd: int) -> None:
        for number in os.read(fd, 64):
            if number in _SIGNALS:
                again = self._termination is not None
                self._stop(0.0 if again else self._pod.grace, signal.Signals(number).name)

    # what goes out

    def _ready(self, error: str) -> None:
        if not self._told:
            self._told = True
            self._audience.ready(error)

    def _event(self, name: str, what: str, detail: str) -> None:
        event = {"time": now(), "container": name, "event": what, "detail": detail}
        self._events = [*self._events[1 - _EVENTS :], event]
        self._audience.event(event)
        if self._server:
            self._server.tell({"event": event})

    def _save(self) -> None:
        """Writes the state if it is not what was written last."""
        pod = self._pod
        state = jsontext.dumps(
            {
                "name": pod.name, "phase": self._phase, "reason": self._failure, "manifest": pod.source,
                "hostname": pod.hostname, "labels": pod.labels, "restartPolicy": pod.restart, "grace": pod.grace,
                "shareProcessNamespace": pod.share_pid, "supervisor": os.getpid(), "created": self._created,
                "started": self._started, "finished": self._finished, "events": self._events,
                "containers": [one.document() for one in self._members],
            }
        )  # fmt: skip
        if state != self._saved:
            self._directory.save(state)
            self._saved = state
