# SPDX-License-Identifier: Apache-2.0
"""``create``: everything until init waits for ``start`` (runtime.md, "Create")."""

from __future__ import annotations

import os

from pyoci import cgroup, native, protocol, report
from pyoci.config import load
from pyoci.container import gather, hooks, intent, launch, processes, steps
from pyoci.container.options import Request
from pyoci.container.paths import Lock, Root, check_id, remove_directory
from pyoci.container.state import State, now, owner
from pyoci.errors import CgroupError, LaunchError, PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.container.options import CreateOptions


def create(root: Root, container_id: str, bundle: str, options: CreateOptions) -> State:
    """Creates a container from a bundle and leaves its init waiting.

    bundle: absolute path. Returns the saved state. Raises PyociError, and then leaves nothing behind.
    """
    config = load.config(bundle, options.config)
    state, pidfd = Creation(Request(container_id, bundle, options, config)).carry_out(root)
    os.close(pidfd)
    return state


class Creation:
    """The creation of one container: the request, the facts of the host, what will be done, and what has been done.

    The constructor decides everything and changes nothing; ``pyoci plan`` shows the result. :meth:`carry_out` does it.
    Raises PyociError if the container cannot be created.
    """

    __slots__ = (
        *("facts", "group", "intent", "request", "state"),
        *("_ahead", "_hooks_ran", "_launch", "_starting"),
    )
    _launch: launch.Launch
    state: State

    def __init__(self, request: Request) -> None:
        check_id(request.id)
        intent.check_terminal(request.config.process, request.options)
        host = cgroup.host()
        path = cgroup.resolve(request.config.cgroups_path, request.id)
        self.request = request
        self.group = cgroup.manage(host, path, request.options.cgroup_manager)
        self.facts = gather.for_create(request, host, self.group)
        self.intent = intent.to_create(request.config, self.facts, self.group)
        self._ahead = self._answers_ahead()
        self._hooks_ran = False
        self._starting: Callable[[], None] | None = None
        if report.debugging:
            report.debug(f"create {request.id}: checked, {len(self.intent.launch.operations)} operations")

    def check(self) -> None:
        """Checks what would prevent :meth:`carry_out` from cloning init, as far as possible without an effect.

        Raises PyociError.
        """
        for descriptor in launch.open_namespaces(self.intent.launch):
            os.close(descriptor)

    def carry_out(self, root: Root, starting: Callable[[], None] | None = None) -> tuple[State, int]:
        """Creates the container.

        starting: if given, the container is started too, without the poststart hooks, so that init need not wait for
        another process; it is called when the program is about to run. Returns the state and a pidfd of init, for the
        caller to close. Raises PyociError, and then leaves nothing behind.
        """
        self._starting = starting
        with Lock(root.new(self.request.id)) as lock:
            if not lock.take() or lock.gone():
                raise PyociError(f"create {self.request.id}: it is being deleted at this moment")
            try:
                self.state = self._first_state(lock.directory)
                return self.state, self._make()
            except BaseException:
                remove_directory(lock.directory)
                raise

    def _first_state(self, directory: str) -> State:
        """Returns the first state, which has only the cgroup. It is not saved: after a crash, the link that
        remember_init() wrote is enough."""
        begin = {"id": self.request.id, "pid": 0, "started": 0, "boot": processes.boot_id()}
        state = State(directory, {**self.intent.kept, **begin, "created": now(), "owner": owner()})
        state.remember_init()
        return state

    def _make(self) -> int:
        """Creates cgroup and init, runs the hooks, writes the pid file, and for ``run`` starts the program.

        Returns init's pidfd. If a step fails, undoes the others; the caller removes the state directory.
        """
        self.group.precreate(self.intent.cgroup)
        if report.debugging:
            report.debug(f"create {self.state.id}: made the state directory and the cgroup {self.group.path}")
            steps.tell(steps.before(self))
        try:
            with launch.Launch(f"create {self.state.id}", self.intent.launch, self.request.config.name) as self._launch:
                self._spawn()
                self._while_init_mounts()
                self._launch.expect(protocol.SYNC_MOUNTED)
                self._know_init()
                self._hooks_ran = True
                if protocol.SYNC_STATE not in self._ahead:
                    self._early_hooks()
                self._launch.expect(protocol.SYNC_CREATED)
                self._announce()
                if self._starting is None:
                    self._launch.answer()
                else:
                    self._start(self._starting)
                return self._launch.finish().pidfd
        except BaseException as error:
            killed = isinstance(error, LaunchError) and self.group.oom_kills()
            memory = launch.out_of_memory(self._launch.about, self.group) if killed else None
            self._undo()
            if memory:
                raise memory from error
            raise

    def _answers_ahead(self) -> list[int]:
        """Returns the answers that init finds as soon as it asks, because nothing need be done before.

        init must wait before the new root if the cgroup's manager has to move it or maps have to be written, and if
        hooks run before.
        """
        wait = self.group.attaches or self.intent.maps or self.intent.has_hooks(*intent.EARLY_HOOKS)
        return [] if wait else [protocol.SYNC_STATE]

    def _spawn(self) -> None:
        """Opens what init needs, and clones init."""
        opened = launch.open_namespaces(self.intent.launch)
        try:
            opened.append(native.listen(self.state.start_socket))
            self._launch.spawn(self.request.options, self.group, opened[:-1], opened[-1], self._ahead)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if self.group.attaches:
            self._launch.expect(protocol.SYNC_ATTACH)
            assert self._launch.child is not None
            self.group.attach(self._launch.child.pid)
            self._launch.answer()
        if self.intent.maps:
            self._launch.expect(protocol.SYNC_MAPS)
            self._launch.write_maps(self.intent.maps)
            if report.debugging:
                steps.tell(steps.maps(self.intent))
            self._launch.answer()

    def _while_init_mounts(self) -> None:
        """Does what must be done before the first hook, or before create ends, but not before init starts.

        The limits are for the container's program, which starts at ``start`` at the earliest.
        """
        self.group.limit(self.intent.cgroup)
        self.state.save(durable=False)  # without a process: status creating
        if self.facts.seccomp:
            _store(f"{self.state.directory}/seccomp.bpf", self.facts.seccomp[0])
        self._launch.expect_child()
        self._know_init()
        if report.debugging:
            report.debug(f"create {self.state.id}: set the limits, saved the state")

    def _know_init(self) -> None:
        """Stores init's PID, so that ``delete --force`` finds it even if this process is killed, and writes the state
        of the created container, to be published later. Called again when init has continued in a child."""
        assert self._launch.child is not None
        if self._launch.child.pid == self.state.pid:
            return
        self.state.pid = self._launch.child.pid
        self.state.started = processes.start_time(self.state.pid)
        self.state.remember_init()
        self.state.write()

    def _early_hooks(self) -> None:
        """Runs the hooks that come before the new root, and sends init the state for the hooks that it runs."""
        for kind in ("prestart", "createRuntime"):
            if report.debugging:
                steps.tell(steps.hooks(self.intent, kind))
            if self.intent.has_hooks(kind):
                hooks.run(kind, self.intent.hooks[kind], self.state.for_hooks("creating"))
        own = self.intent.has_hooks("createContainer")
        self._launch.answer(protocol.SYNC_STATE, self.state.for_hooks("creating") if own else b"")

    def _announce(self) -> None:
        """Completes init, publishes the state and informs the caller, all before init continues. Whoever reads the pid
        file finds a created container."""
        self._launch.settle()
        self._know_init()
        self.state.publish()
        self._launch.tell(self.request.options)
        if report.debugging:
            steps.tell([*steps.settling(self.intent), *steps.saving(self)])

    def _start(self, starting: Callable[[], None]) -> None:
        """Does what ``start`` does, through the sync socket (csrc/plan.h). Raises LaunchError."""
        starting()
        self._launch.about = f"start {self.state.id}"
        os.unlink(self.state.start_socket)
        payload = self.state.for_hooks("created") if self.intent.has_hooks("startContainer") else b""
        self._launch.answer(protocol.SYNC_START, payload)
        self._launch.expect(protocol.SYNC_NONE)  # the end of the socket: execve closed it

    def _undo(self) -> None:
        """Removes the cgroup, and runs the poststop hooks if others have run (runtime.md): there is no container."""
        try:
            self.group.discard()
        except CgroupError:
            pass  # the first error says more
        if self._hooks_ran and self.intent.has_hooks("poststop"):
            hooks.run_all("poststop", self.intent.hooks["poststop"], self.state.for_hooks("stopped"))


def _store(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
