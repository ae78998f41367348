# SPDX-License-Identifier: Apache-2.0
"""From a launch plan to a process: descriptors, clone3, and the talk with init (drawn in csrc/plan.h)."""

from __future__ import annotations

import os

from pyoci import native, protocol, report
from pyoci.container import pidfile, processes
from pyoci.errors import LaunchError, SpecError, hook_words
from pyoci.plan import encode, ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.cgroup import Cgroup
    from pyoci.container.options import LaunchOptions
    from pyoci.plan.order import LaunchPlan

ENOENT, EACCES, EISDIR, ENOTDIR, EMFILE = 2, 13, 21, 20, 24
CONFIG = "config.json"
INIT = os.path.join(native.LIBEXEC, "pyoci-init")


# What messages of init say, for --debug.
_PROGRESS = {
    protocol.SYNC_MOUNTED: "init has prepared the mounts",
    protocol.SYNC_CREATED: "init waits for start",
    protocol.SYNC_STARTING: "init is about to execute the program",
    protocol.SYNC_NONE: "the program runs",
}


class Child:
    """A process that init's plan began: ``pid`` on the host, and ``pidfd``, which the holder closes."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd


class Launch:
    """One launch: ``spawn`` the child, ``expect`` its messages, ``answer`` them. A context manager: what is left
    unfinished is killed and reaped.

    about: verb and container, for messages; document: what asks for the plan's operations: config.json, or the
    process document of ``exec``.
    """

    __slots__ = ("_document", "_opened", "_plan", "_sync", "about", "child", "finished")

    def __init__(self, about: str, plan: LaunchPlan, document: str = CONFIG) -> None:
        self.about = about
        self._document = document
        self._plan = plan
        self._sync = -1
        self._opened: list[int] = []
        self.child: Child | None = None
        self.finished = False

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in self._opened:
            os.close(descriptor)
        if self._sync >= 0:
            os.close(self._sync)
        if self.child is not None and not self.finished:
            if processes.kill_and_wait(self.child.pidfd, 10):
                _reap(self.child)
            os.close(self.child.pidfd)

    def _keep(self, descriptor: int) -> int:
        self._opened.append(descriptor)
        return descriptor

    def spawn(
        self,
        stdio: Sequence[int],
        listener: int = -1,
        console: int = -1,
        joined: Sequence[int] = (),
        group: Cgroup | None = None,
        ahead: Sequence[int] = (),
        wait: bool = True,
    ) -> Child:
        """clone3 of init, into ``group``. It waits for the first ``answer``; ``ahead``: answers to what it has not
        asked yet, so that it goes on without a wait; ``wait``: until it is init and /proc/PID its own, for what is to
        be written there. Descriptors stay the caller's."""
        processes.expect_children()
        layout = self._plan.layout
        if report.debugging:
            for operation in self._plan.operations:
                report.debug(f"init: {operation.describe()}")
        start = layout.start if listener >= 0 else -1
        data = encode.encode(self._plan.operations, layout.sync, start, layout.preserve)
        plan = self._keep(native.plan_memfd(data))
        init = self._keep(native.init_memfd(INIT))
        self._sync, remote = native.socketpair()
        self._keep(remote)
        for message in ahead:
            native.send(self._sync, message)
        preserved = [_inherited(number) for number in range(3, 3 + layout.preserve)]
        fds = [*stdio, *preserved, plan, remote, listener, console, *joined]
        flags = self._plan.clone_flags
        into = group.descriptor() if group else -1
        tasks = group.entries() if group else []
        try:
            pid, pidfd = native.spawn(flags, init, fds, layout.plan, layout.sync, into, tasks, wait)
        finally:
            for descriptor in [*tasks, into] if into >= 0 else tasks:
                os.close(descriptor)
        self.child = Child(pid, pidfd)
        if report.debugging:
            report.debug(f"{self.about}: cloned, process {pid}")
        os.close(remote)
        self._opened.remove(remote)
        return self.child

    def answer(self, message: int = protocol.SYNC_GO, payload: bytes = b"") -> None:
        """Lets init go on. That it has gone meanwhile is for the next ``expect`` to tell."""
        try:
            native.send(self._sync, message, 0, payload)
        except native.NativeError as error:
            if error.errno != 32:  # EPIPE
                raise

    def expect(self, *kinds: int) -> native.Message:
        """The next message, which must be one of ``kinds``. Raises LaunchError if init failed or is gone."""
        message = native.receive(self._sync)
        if message.kind == protocol.SYNC_CHILD:
            self._replace(message.value)
            return self.expect(*kinds)
        if message.kind == protocol.SYNC_FAILED:
            raise failed(self.about, message.failure(), self._document)
        if message.kind not in kinds:
            raise LaunchError(f"{self.about}: pyoci-init ended without a word{self._how_ended()}")
        if report.debugging and message.kind in _PROGRESS:
            report.debug(f"{self.about}: {_PROGRESS[message.kind]}")
        return message

    def _replace(self, pid: int) -> None:
        """The joiner has handed over to its child, which is ours (CLONE_PARENT), so its number cannot be reused."""
        joiner = self.child
        assert joiner is not None
        self.child = Child(pid, native.pidfd_open(pid))
        _reap(joiner)
        os.close(joiner.pidfd)
        self.answer()

    def _how_ended(self) -> str:
        if self.child is None or not native.wait_readable(self.child.pidfd, 2000):
            return ""
        code = os.waitstatus_to_exitcode(os.waitpid(self.child.pid, os.WNOHANG)[1])
        memory = " (the memory limit may be too small)" if code == -9 else ""
        return f", by signal {-code}{memory}" if code < 0 else f", with status {code}"

    def tell(self, options: LaunchOptions) -> None:
        """Tells the caller who the process is, by pidfd and pid file. Raises LaunchError."""
        assert self.child is not None
        if options.pidfd_socket:
            from pyoci.container.terminal import send_pidfd

            send_pidfd(options.pidfd_socket, self.child.pidfd)
        if options.pid_file:
            pidfile.write(options.pid_file, self.child.pid, self.about)

    def finish(self) -> Child:
        """The launch is done: the process lives on."""
        assert self.child is not None
        self.finished = True
        return self.child


def _reap(child: Child) -> None:
    try:
        os.waitpid(child.pid, 0)
    except ChildProcessError:
        pass


def _inherited(number: int) -> int:
    """A descriptor that the caller gave us; what we opened ourselves is close-on-exec and never handed on."""
    try:
        return number if os.get_inheritable(number) else -1
    except OSError:
        return -1


def write_maps(pid: int, maps: Sequence[tuple[str, str]]) -> None:
    """The user and group maps of a new user namespace (user_namespaces(7)): kind, text. Raises SpecError."""
    for kind, text in maps:
        try:
            _write(f"/proc/{pid}/{kind}_map", text)
        except OSError as error:
            raise SpecError(f"/linux/{kind}Mappings", f"the kernel refuses the map: {error.strerror}") from error


def set_oom_score(pid: int, value: int | None) -> None:
    """process.oomScoreAdj (proc_pid_oom_score_adj(5)). Raises SpecError."""
    if value is None:
        return
    try:
        _write(f"/proc/{pid}/oom_score_adj", str(value))
    except ProcessLookupError:
        pass  # it has failed and ended, and has said why
    except PermissionError:
        hint = "lowering it takes CAP_SYS_RESOURCE, which this process does not have"
        raise SpecError("/process/oomScoreAdj", "the kernel refuses it: permission denied", value, hint) from None


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def open_namespaces(plan: LaunchPlan) -> list[int]:
    """Descriptors of the namespaces to join, each proved to be of the kind that config.json says (ioctl_ns(2)).

    Raises SpecError.
    """
    opened: list[int] = []
    try:
        for entry in plan.joined:
            kind, path, where = entry.type, entry.path, entry.where
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                reason = (
                    "there is no such namespace" if error.errno == ENOENT else os.strerror(error.errno or 0).lower()
                )
                raise SpecError(f"{where}/path", f"open the {kind} namespace: {reason}", path) from None
            opened.append(descriptor)
            try:
                found = native.ns_type(descriptor)
            except native.NativeError:
                found = 0
            if found != entry.flag:
                raise SpecError(
                    f"{where}/path", f"this is not a {kind} namespace", path, "give a file like /proc/PID/ns/net"
                )
    except SpecError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


_NAMES = {one.kind: one.name for one in vars(ops).values() if isinstance(one, type) and issubclass(one, ops.Op)}


def failed(about: str, failure: native.Failure, document: str = CONFIG) -> LaunchError:
    """The error of a failed operation, in one line; the texts that engines match are docs/engines.md's."""
    if failure.kind in (protocol.PLAN_PROGRAM, protocol.PLAN_EXECVE):
        return LaunchError(_program_text(about, failure), failure.errno)
    reason = os.strerror(failure.errno).lower() if failure.errno else ""
    if failure.errno == ENOENT:
        reason = "nothing is there"  # ENOENT's own text says to podman and docker that the program is missing
    elif failure.errno == ENOTDIR:
        reason = "a part of the path is a file"
    name = _NAMES.get(failure.kind, f"operation {failure.index}") if failure.kind else "start pyoci-init"
    if failure.errno == EMFILE:
        reason += "; raise RLIMIT_NOFILE (ulimit -n)"
    what = f"{name} {failure.path}".strip()
    if failure.kind == protocol.PLAN_HOOK:
        _, _, kind, index = failure.where.split("/")  # /hooks/KIND/INDEX
        what = hook_words(kind, index, failure.path)
    step = f"{failure.step}: " if failure.step and failure.step != name else ""
    parts = [part for part in (reason, failure.detail) if part]
    pointer = failure.where if document == CONFIG else failure.where.removeprefix("/process")
    where = f" ({document}: {pointer})" if pointer else ""
    return LaunchError(f"{about}: {what}: {step}{', '.join(parts)}{where}", failure.errno)


def _program_text(about: str, failure: native.Failure) -> str:
    program = failure.path
    if failure.step == "search" and failure.errno == ENOENT:
        return f"{about}: executable file `{program}` not found in $PATH: No such file or directory"
    reason = os.strerror(failure.errno)
    if failure.errno in (EACCES, EISDIR):
        reason = reason.lower()
    if failure.errno == EISDIR:
        reason += ": permission denied"  # what podman looks for, besides docker's "is a directory"
    hint = ""
    if failure.step == "execve" and failure.errno == ENOENT:
        hint = "; the interpreter that it names is missing"
    elif failure.step == "execve" and failure.errno == 8:  # ENOEXEC
        hint = "; it is no program for this machine, and no script with #!"
    return f"{about}: exec `{program}`: {reason}{hint}"
