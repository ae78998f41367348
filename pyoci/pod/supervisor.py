# SPDX-License-Identifier: Apache-2.0
"""The process that runs one pod, from the start of the sandbox to its end.

    sandbox ─> init containers, one after the other ─> containers, in order ─> ... ─> TERM in reverse ─> sandbox last

It has one thread and one poll(2), for pidfds of the containers' processes, the pipes to which they print, signals and
the control socket. It sleeps until one of them is ready or a time has come, and never polls periodically. Work that
takes time, or that a container could block (creating, killing or removing one), is a job, a process of its own
(jobs.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from pyoci import jsontext
from pyoci.container import host
from pyoci.container.state import now
from pyoci.errors import OutOfMemory, PodError, PyociError
from pyoci.pod import member
from pyoci.pod.containers import Containers, reap
from pyoci.pod.control import Server
from pyoci.pod.directory import Directory
from pyoci.pod.jobs import Job
from pyoci.pod.loop import Loop
from pyoci.pod.member import OOM_KILLED, TERMINATED, WAITING, Member
from pyoci.pod.model import Pod
from pyoci.pod.runner import DEAD, Runner
from pyoci.pod.state import Event, PodState
from pyoci.pod.termination import KILL, TERM, Termination

_EVENTS = 256  # the number of newest events that the state keeps
_DETAIL = 1000  # characters of an event's detail
_PAUSE = 5.0  # seconds for the sandbox to end after TERM; pause needs microseconds
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Audience:
    """An observer, which the supervisor calls from its thread."""

    def line(self, name: str, stream: str, text: bytes) -> None:
        """Called when a container has printed a line."""

    def event(self, event: Event) -> None:
        """Called when something has happened."""

    def ready(self, error: str) -> None:
        """Called at most once: every container has been started (error is empty), or the pod has ended before."""


class Supervisor:
    """Runs a pod whose directory has been claimed."""

    def __init__(
        self, pod: Pod, directory: Directory, containers: Containers, backoff: float, audience: Audience
    ) -> None:
        """backoff: the first restart delay that is not 0, in seconds."""
        self._pod, self._directory, self._audience = pod, directory, audience
        self._sandbox = member.make(pod.name, "sandbox", None, backoff)
        self._init = [member.make(pod.name, "init", spec, backoff) for spec in pod.init]
        self._containers = [member.make(pod.name, "container", spec, backoff) for spec in pod.containers]
        self._peers = [*self._init, *self._containers]
        self._members = [self._sandbox, *self._peers]
        self._loop = Loop()
        self._runner = Runner(pod, directory, containers, self._loop, self._printed)
        self._server: Server | None = None
        self._termination: Termination | None = None
        self._sandbox_end: Termination | None = None
        self._events: list[Event] = []
        self._told = False
        self._phase, self._failure = "Pending", ""
        self._created = now()
        self._started: str | None = None
        self._finished: str | None = None
        self._saved = ""

    def run(self) -> int:
        """Runs the pod to its end. Returns 0 if every container ended well, else 1.

        Faults of the pod do not raise: they are in the state, in the events and in the exit status.
        """
        os.umask(0o022)
        host.adopt_orphans()
        self._loop.catch(_SIGNALS, self._signalled)
        try:
            self._begin()
            while any(one.running or one.job for one in self._members):
                self._advance(time.monotonic())
                self._save()
                self._loop.wait(self._next())
        except (PyociError, OSError) as error:
            self._fail(str(error))
        finally:
            self._end()
            self._loop.close()
        return 1 if self._phase == "Failed" else 0

    # the steps of a pod, in order

    def _begin(self) -> None:
        self._server = Server(self._directory)
        self._loop.watch(self._server.listener.fileno(), self._accepted)
        self._save()
        self._runner.prepare()
        self._start(self._sandbox)

    def _advance(self, at: float) -> None:
        """Does everything that is due."""
        for one in self._members:
            if one.job:
                one.job.end_if_late(at)
        if self._termination is None and self._sandbox.running:
            self._start_what_is_due(at)
        if self._termination is not None:
            self._terminate(self._termination, at)

    def _start_what_is_due(self, at: float) -> None:
        for one in self._init:
            if one.done and one.code == 0:
                continue
            if one.due(at):
                self._start(one)
            return
        for one in self._containers:
            if one.due(at):
                self._start(one)
            if not one.starts:
                return  # the next one follows when this one has been started
        if self._phase == "Pending":
            self._phase, self._started = "Running", now()
            self._ready("")
        if all(one.done for one in self._containers):
            self._stop(0.0, "all containers have ended")

    def _terminate(self, termination: Termination, at: float) -> None:
        running = [one.name for one in self._peers if one.running]
        self._send(termination.due(running, at))
        for one in self._peers if at >= termination.end else ():
            if one.job and one.starting:
                one.job.kill()
        if running and at > termination.end + DEAD:
            raise PodError(f"containers do not end after KILL: {', '.join(running)}")
        if not self._sandbox.running or any(one.running or one.job for one in self._peers):
            return
        if self._sandbox_end is None:
            self._sandbox_end = Termination([self._sandbox.name], _PAUSE, at)
        self._send(self._sandbox_end.due([self._sandbox.name], at))
        if at > self._sandbox_end.end + DEAD:
            raise PodError(f"the sandbox, pid {self._sandbox.pid}, does not end after KILL")

    def _next(self) -> float | None:
        """Returns the monotonic time at which _advance() is due next, unless something happens before."""
        times = [one.job.deadline for one in self._members if one.job]
        if self._termination is None:
            times += [one.wake for one in self._peers if one.status == WAITING and one.wake is not None]
        for termination, members in ((self._termination, self._peers), (self._sandbox_end, [self._sandbox])):
            if termination is not None and any(one.running or one.starting for one in members):
                following = termination.next()
                times.append(termination.end + DEAD + 1 if following is None else following)
        return min(times, default=None)

    def _end(self) -> None:
        """Removes everything but the directory. Each step is done, even if others fail."""
        steps: list[Callable[[], object]] = [partial(self._discard, one) for one in reversed(self._members)]
        steps.append(self._runner.finish)
        for step in steps:
            try:
                step()
            except (PyociError, OSError) as error:
                self._fail(f"clean up: {error}")
        failed = self._failure or not all(one.peaceful for one in self._peers if one.starts)
        self._phase, self._finished = "Failed" if failed else "Succeeded", now()
        self._event("", "ended", self._phase)
        try:
            self._save()
        except (PyociError, OSError):
            pass  # a full disk: the pod will be shown as one whose supervisor is gone
        self._ready(self._failure or "stopped before all containers were started")
        self._runner.close()
        if self._server:
            self._server.close()

    # one container: start, end, removal, and what follows

    def _start(self, one: Member) -> None:
        """Begins to start a container. _launched() continues when that is done."""
        try:
            self._runner.start(one, self._sandbox.pid, self._launched)
            one.starting = True
        except OSError as error:
            self._start_failed(one, str(error))

    def _launched(self, one: Member, job: Job) -> None:
        one.starting = False
        try:
            pid = int(job.result())
        except OutOfMemory as error:
            one.begin(0, -1)
            one.end(128 + KILL, OOM_KILLED)
            self._event(one.name, "ended", f"{one.describe_end()}: {error}")
            self._remove(one)
        except PyociError as error:
            self._start_failed(one, str(error))
        else:
            one.begin(pid, os.pidfd_open(pid))
            self._loop.watch(one.pidfd, lambda _: self._ended(one))
            self._event(one.name, "started", f"pid {pid}" + (f", restart {one.restarts}" if one.restarts else ""))
            if self._termination is not None and one is not self._sandbox:
                self._end_at_once(one, self._termination)

    def _end_at_once(self, one: Member, termination: Termination) -> None:
        """Handles a start that was under way when the pod's end began, and has succeeded."""
        if time.monotonic() < termination.end:
            termination.add(one.name)
        else:
            self._send([(KILL, one.name)])

    def _start_failed(self, one: Member, error: str) -> None:
        """Handles a failed start: the first one fails the pod, a later one is retried."""
        if self._termination is None and one.starts:
            one.end(128, "StartError")
            self._event(one.name, "start failed", error)
        elif self._termination is None:
            what = {"sandbox": "", "init": f"init container {one.name}: ", "container": f"container {one.name}: "}
            self._fail(what[one.kind] + error)
        self._remove(one)

    def _ended(self, one: Member) -> None:
        """Handles the end of a container's init: its status, its remains, and what comes next."""
        code = reap(one.pidfd, wait=False)
        if code is None:
            return
        self._loop.forget(one.pidfd)
        os.close(one.pidfd)
        killed = self._runner.killed_for_memory(one)
        one.end(code, member.reason_of(code, one.signalled, killed))
        self._event(one.name, "ended", one.describe_end(killed))
        if one is self._sandbox and self._sandbox_end is None:
            self._fail(f"the sandbox ended: {one.describe_end()}")
        if one.job is None:
            self._remove(one)

    def _remove(self, one: Member) -> None:
        """Begins to remove a container. _removed() continues when that is done."""
        try:
            self._runner.remove(one, self._removed)
        except OSError as error:
            self._event(one.name, "clean up failed", str(error))
            self._decide(one)

    def _removed(self, one: Member, job: Job) -> None:
        try:
            job.result()
        except PyociError as error:
            self._event(one.name, "clean up failed", str(error))
        self._runner.clean(self._members)
        self._decide(one)

    def _decide(self, one: Member) -> None:
        """Decides what follows the end of a container: nothing, a restart, or the end of the pod."""
        if one is self._sandbox or one.status != TERMINATED or self._termination is not None:
            return
        policy = self._pod.restart
        if one.code == 0 and (one.kind == "init" or policy != "Always"):
            return
        if policy == "Never":
            if one.kind == "init":
                self._fail(f"init container {one.name}: {one.describe_end()}")
            return
        delay = one.backoff.delay(one.ran)
        one.again(time.monotonic() + delay)
        self._event(one.name, "back-off", f"{one.reason.lower()}, starts again in {delay:g} s")

    def _kill(self, one: Member) -> None:
        """Begins to kill what does not end with init: a frozen container, or one that shares its PID namespace."""
        try:
            self._runner.kill(one, self._killed)
        except OSError as error:
            self._event(one.name, "kill failed", str(error))

    def _killed(self, one: Member, job: Job) -> None:
        try:
            job.result()
        except PyociError as error:
            self._event(one.name, "kill failed", str(error))
        if one.status == TERMINATED:
            self._remove(one)

    def _discard(self, one: Member) -> None:
        """Removes all jobs, processes, containers and root file systems at the very end, whatever happened before."""
        ran = one.running
        code = self._runner.discard(one)
        if ran and code is None:
            raise PodError(f"container {one.name}: pid {one.pid} does not end after KILL")
        if code is not None:
            one.signalled = KILL
            one.end(code)
            self._event(one.name, "ended", one.describe_end())

    # the end

    def _stop(self, grace: float, why: str) -> None:
        """Begins to stop the pod, or shortens the grace period if that has begun. grace: seconds."""
        at = time.monotonic()
        if self._termination is not None:
            self._termination.hasten(grace, at)
            return
        self._phase = "Terminating"
        self._event("", "stopping", why)
        self._termination = Termination([one.name for one in self._peers], grace, at)
        for one in self._peers:
            if one.status == WAITING and one.starts:
                one.status, one.wake = TERMINATED, None

    def _fail(self, why: str) -> None:
        """Records the first failure and begins to stop the pod."""
        if not self._failure:
            self._failure = why
            self._event("", "failed", why)
        self._stop(self._pod.grace, why)

    def _send(self, signals: list[tuple[int, str]]) -> None:
        for number, name in signals:
            one = next(one for one in self._members if one.name == name)
            one.signalled = number
            self._event(name, "TERM sent" if number == TERM else "KILL sent", "")
            try:
                signal.pidfd_send_signal(one.pidfd, number)
            except ProcessLookupError:
                continue
            if number == KILL and one.job is None:
                self._kill(one)

    # input

    def _printed(self, name: str, stream: str, text: bytes) -> None:
        self._audience.line(name, stream, text)
        if self._server:
            self._server.tell({"log": name})

    def _accepted(self, _: int) -> None:
        assert self._server is not None
        fd = self._server.accept()
        if fd >= 0:
            self._loop.watch(fd, self._asked)

    def _asked(self, fd: int) -> None:
        assert self._server is not None
        request = self._server.receive(fd)
        if request is None:
            self._loop.forget(fd)
        elif "stop" in request:
            grace = request["stop"]
            self._stop(float(grace if isinstance(grace, int) else self._pod.grace), "asked to stop")

    def _signalled(self, number: int) -> None:
        again = self._termination is not None
        self._stop(0.0 if again else self._pod.grace, signal.Signals(number).name)

    # output

    def _ready(self, error: str) -> None:
        if not self._told:
            self._told = True
            self._audience.ready(error)

    def _event(self, name: str, what: str, detail: str) -> None:
        event: Event = {"time": now(), "container": name, "event": what, "detail": detail[:_DETAIL]}
        self._events = [*self._events[1 - _EVENTS :], event]
        self._audience.event(event)
        if self._server:
            self._server.tell({"event": event})

    def _save(self) -> None:
        """Writes the state if it has changed."""
        pod = self._pod
        state: PodState = {
            "name": pod.name, "phase": self._phase, "reason": self._failure, "manifest": pod.source,
            "hostname": pod.hostname, "labels": pod.labels, "restartPolicy": pod.restart, "grace": pod.grace,
            "shareProcessNamespace": pod.share_pid, "supervisor": os.getpid(), "created": self._created,
            "started": self._started, "finished": self._finished, "events": self._events,
            "containers": [one.document() for one in self._members],
        }  # fmt: skip
        text = jsontext.dumps(state)
        if text != self._saved:
            self._directory.save(text)
            self._saved = text
