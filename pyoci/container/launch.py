# SPDX-License-Identifier: Apache-2.0
"""Launches a process from a plan: descriptors, clone3, and the protocol with init (drawn in csrc/plan.h)."""

from __future__ import annotations

import os
import time

from pyoci import native, protocol, report
from pyoci.container import pidfile, processes, waiting
from pyoci.errors import LaunchError, OutOfMemory, PyociError, SpecError, hook_words, reason
from pyoci.kernel.signals import SIGKILL, SIGSYS
from pyoci.plan import encode, ops
from pyoci.plan.outside import OomScoreAdj

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.cgroup import Cgroup
    from pyoci.container.options import LaunchOptions
    from pyoci.plan.order import LaunchPlan

ENOENT, ESRCH, ENOMEM, EACCES, EISDIR, ENOTDIR, EMFILE = 2, 3, 12, 13, 21, 20, 24
CONFIG = "config.json"
INIT = os.path.join(native.LIBEXEC, "pyoci-init")
LOWERED = "lowering it takes CAP_SYS_RESOURCE, which this process does not have"
FILTERED = "the seccomp filter refuses a system call that pyoci-init needs"

# What the messages of init mean, for --debug.
_PROGRESS = {
    protocol.SYNC_MOUNTED: "init has prepared the mounts",
    protocol.SYNC_CREATED: "init waits for start",
    protocol.SYNC_STARTING: "init is about to execute the program",
    protocol.SYNC_NONE: "the program runs",
}


class Child:
    """A launched process: its ``pid`` on the host, and a ``pidfd``, which the owner of this object closes."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd


class Launch:
    """One launch: ``spawn`` the child, ``expect`` its messages, ``answer`` them. As a context manager, kills and reaps
    a child that is not finished.

    about: verb and container, for messages; document: the document that asks for the operations, config.json or the
    process document of ``exec``.
    """

    __slots__ = (
        "_cgroup",
        "_clones",
        "_document",
        "_gone",
        "_group",
        "_opened",
        "_plan",
        "_sync",
        "_report_memory",
        "about",
        "child",
        "finished",
    )

    def __init__(self, about: str, plan: LaunchPlan, document: str = CONFIG) -> None:
        self.about = about
        self._document = document
        self._plan = plan
        self._sync = self._report_memory = -1
        self._opened: list[int] = []
        self._clones = plan.early_clones + plan.late_clones
        self._group = 0  # the first child leads a process group, which complete children leave
        self._cgroup: Cgroup | None = None
        self._gone: list[int] = []  # children that have continued in a child, to be reaped
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
            # in a frozen cgroup of v1 it ends when that is thawed
            stands = self._cgroup is not None and self._cgroup.unkillable()
            if processes.kill_and_wait(self.child.pidfd, 1 if stands else 10):
                self._gone.append(self.child.pid)
            os.close(self.child.pidfd)
            if self._group:
                self._kill_unknown()
        for pid in self._gone:
            _reap(pid)

    def _kill_unknown(self) -> None:
        """Kills a child of init that has not sent a message yet. It is known only by its process group."""
        try:
            os.killpg(self._group, SIGKILL)
            for _ in range(1000):
                if os.waitpid(-self._group, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
        except (ProcessLookupError, ChildProcessError):
            pass

    def _keep(self, descriptor: int) -> int:
        self._opened.append(descriptor)
        return descriptor

    def spawn(
        self,
        options: LaunchOptions,
        group: Cgroup,
        joined: Sequence[int],
        listener: int = -1,
        ahead: Sequence[int] = (),
    ) -> None:
        """Clones init. joined: the namespaces to enter; listener: where it waits for ``start``; ahead: answers to
        messages that init will send, so that it need not wait. The caller keeps its descriptors."""
        processes.expect_children()
        layout = self._plan.layout
        if report.debugging:
            for operation in self._plan.operations:
                report.debug(f"init     {operation.describe()}")
        start = layout.start if listener >= 0 else -1
        data = encode.encode(self._plan.operations, layout.sync, start, layout.preserve)
        plan = self._keep(native.plan_memfd(data))
        init = self._keep(native.init_memfd(INIT))
        self._sync, remote = native.socketpair()
        self._keep(remote)
        if self._plan.filtered:
            self._report_memory = self._keep(native.report_memory())
        native.send(self._sync, protocol.SYNC_GO, passed=self._report_memory)
        for message in ahead:
            native.send(self._sync, message)
        preserved = [_inherited(number) for number in range(3, 3 + layout.preserve)]
        console = self._console(options)
        entries = group.entries()
        into = group.descriptor()
        if into >= 0:
            entries.insert(0, into)
        fds = [*options.stdio, *preserved, plan, remote, listener, console, *joined, *entries]
        try:
            pid, pidfd = native.spawn(init, fds, layout.plan, layout.sync)
        finally:
            for descriptor in entries:
                os.close(descriptor)
        self.child = Child(pid, pidfd)
        self._group = pid
        self._cgroup = group
        if report.debugging:
            report.debug(f"{self.about}: cloned, process {pid}")
        os.close(remote)
        self._opened.remove(remote)

    def _console(self, options: LaunchOptions) -> int:
        """Returns a console socket: the one that the caller has connected, or a connection to the one at a path; -1
        for none."""
        if not options.console_socket:
            return options.console_fd
        from pyoci.container.terminal import connect_console

        return self._keep(connect_console(options.console_socket))

    def answer(self, message: int = protocol.SYNC_GO, payload: bytes = b"") -> None:
        """Lets init continue. If it has ended, the next ``expect`` reports it."""
        try:
            native.send(self._sync, message, 0, payload)
        except native.NativeError as error:
            if error.errno != 32:  # EPIPE
                raise

    def expect(self, *kinds: int) -> native.Message:
        """Returns the next message, which must be one of ``kinds``. Raises LaunchError if init failed or has ended.

        A process in the container may send messages for a process that is visible there, so a child counts only if it
        is a child of this process.
        """
        assert self.child is not None
        message = waiting.receive(self._sync, self.about, self.child.pid, lambda: self._cgroup)
        if message.kind == protocol.SYNC_NONE and self._report_memory >= 0:
            message = native.read_report(self._report_memory)
        if message.kind == protocol.SYNC_CHILD and self._clones:
            self._clones -= 1
            self._replace(message.sender)
            return message if protocol.SYNC_CHILD in kinds else self.expect(*kinds)
        if message.kind == protocol.SYNC_FAILED:
            raise self._failed(message.failure())
        if message.kind not in kinds:
            raise self._ended()
        if report.debugging and message.kind in _PROGRESS:
            report.debug(f"{self.about}: {_PROGRESS[message.kind]}")
        return message

    def expect_child(self) -> None:
        """Waits until init is in its cgroup and namespaces, that is, for the clones before any other message."""
        while self._clones > self._plan.late_clones:
            self.expect(protocol.SYNC_CHILD)

    def _replace(self, pid: int) -> None:
        """Replaces the child by its own child.

        That is ours too (CLONE_PARENT), so its PID cannot be reused meanwhile.
        """
        before = self.child
        assert before is not None
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError as error:
            raise LaunchError(f"{self.about}: process {pid} says that it is the container's, but it is not") from error
        self.child = Child(pid, native.pidfd_open(pid))
        self._gone.append(before.pid)
        os.close(before.pidfd)

    def write_maps(self, maps: Sequence[tuple[str, str]]) -> None:
        """Writes the user and group maps of a new user namespace (user_namespaces(7)). Raises SpecError."""
        assert self.child is not None
        for kind, text in maps:
            try:
                _write(f"/proc/{self.child.pid}/{kind}_map", text)
            except OSError as error:
                raise SpecError(f"/linux/{kind}Mappings", f"the kernel refuses the map: {reason(error)}") from error

    def settle(self) -> None:
        """Applies the settings of the complete process that are made from outside. Raises SpecError."""
        assert self.child is not None
        for setting in self._plan.outside:
            try:
                if isinstance(setting, OomScoreAdj):
                    _write(f"/proc/{self.child.pid}/oom_score_adj", str(setting.value))
                else:
                    _set_scheduling(self.child.pid, setting.inner)
            except ProcessLookupError:
                return  # it has failed and ended; the next expect() reports why
            except OSError as error:
                words = f"the kernel refuses it: {reason(error)}"
                hint = LOWERED if isinstance(setting, OomScoreAdj) and error.errno == EACCES else ""
                asked = setting.value if isinstance(setting, OomScoreAdj) else setting.shown()
                raise SpecError(setting.where, words, asked, hint, self._document) from error

    def _failed(self, failure: native.Failure) -> PyociError:
        """The error for a failed operation. One for want of memory, or of the container's init, may be the limit's."""
        if failure.errno in (ESRCH, ENOMEM) and self._cgroup and self._cgroup.oom_kills():
            return out_of_memory(self.about, self._cgroup)
        return failed(self.about, failure, self._document)

    def _ended(self) -> PyociError:
        """Returns the error for an init that ended without a message."""
        assert self.child is not None
        native.wait_readable(self.child.pidfd, 2000)
        end = os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is not None and end.si_status == 0:  # it continued in a child
            for pid in (*self._gone, self.child.pid):
                _reap(pid)
            self._gone.clear()
            end = self._end_of_unknown()
        if end is None or end.si_code == os.CLD_EXITED:
            return LaunchError(f"{self.about}: pyoci-init ended without a message")
        if end.si_status == SIGKILL and self._cgroup and self._cgroup.oom_kills():
            return out_of_memory(self.about, self._cgroup)
        hint = f": {FILTERED}" if end.si_status == SIGSYS else ""
        return LaunchError(f"{self.about}: pyoci-init was killed by signal {end.si_status}{hint}")

    def _end_of_unknown(self) -> os.waitid_result | None:
        """Returns how a child of init ended that had not said a word yet. Its socket is closed a little before."""
        try:
            for _ in range(1000):
                end = os.waitid(os.P_PGID, self._group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if end is not None:
                    return end
                time.sleep(0.002)
        except ChildProcessError:
            self._group = 0
        return None

    def tell(self, options: LaunchOptions) -> None:
        """Sends the pidfd and writes the pid file that the caller asked for. Raises UsageError, PyociError."""
        assert self.child is not None
        if options.pidfd_socket:
            from pyoci.container.terminal import send_pidfd

            send_pidfd(options.pidfd_socket, self.child.pidfd)
        if options.pid_file:
            pidfile.write(options.pid_file, self.child.pid, self.about)

    def finish(self) -> Child:
        """Ends the launch. The process keeps running. Returns it."""
        assert self.child is not None
        self.finished = True
        return self.child


def out_of_memory(about: str, group: Cgroup) -> OutOfMemory:
    """Returns the error for a launch that the kernel ended at the memory limit."""
    limit = group.memory_limit()
    words = f"out of memory: the kernel killed a process of its cgroup ({limit}); raise /linux/resources/memory/limit"
    return OutOfMemory(f"{about}: {words}")


def _reap(pid: int) -> None:
    """Reaps a process that has ended. One that a frozen cgroup holds is left to the next parent."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _inherited(number: int) -> int:
    """Returns the descriptor if the caller passed it, or -1. Our own ones are close-on-exec and never passed on."""
    try:
        return number if os.get_inheritable(number) else -1
    except OSError:
        return -1


def _set_scheduling(pid: int, wanted: ops.SchedSetattr) -> None:
    times = (wanted.runtime, wanted.deadline, wanted.period)
    native.sched_setattr(pid, wanted.policy, wanted.flags, wanted.nice, wanted.priority, *times)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def open_namespaces(plan: LaunchPlan) -> list[int]:
    """Opens the namespaces to join, and checks that each has the configured type (ioctl_ns(2)). Returns descriptors.

    Raises SpecError.
    """
    opened: list[int] = []
    try:
        for entry in plan.joined:
            kind, path, where = entry.type, entry.path, entry.where
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                words = f"open the {kind} namespace: {reason(error, missing='there is no such namespace')}"
                raise SpecError(f"{where}/path", words, path) from error
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
    """Returns the error of a failed operation, on one line, with the texts that engines match (docs/engines.md)."""
    if failure.kind in (protocol.PLAN_PROGRAM, protocol.PLAN_EXECVE):
        return LaunchError(_program_text(about, failure), failure.errno)
    why = os.strerror(failure.errno).lower() if failure.errno else ""
    if failure.errno == ENOENT:
        why = "nothing is there"  # podman and docker take the text of ENOENT for a missing program
    elif failure.errno == ENOTDIR:
        why = "a part of the path is a file"
    name = _NAMES.get(failure.kind, f"operation {failure.index}") if failure.kind else "start pyoci-init"
    if failure.errno == EMFILE:
        why += "; raise RLIMIT_NOFILE (ulimit -n)"
    what = f"{name} {failure.path}".strip()
    if failure.kind == protocol.PLAN_HOOK:
        kind, _, index = failure.where.removeprefix("/hooks/").partition("/")
        what = hook_words(kind, index, failure.path)
    step = f"{failure.step}: " if failure.step and failure.step != name else ""
    parts = [part for part in (why, failure.detail) if part]
    where = f" ({document}: {failure.where})" if failure.where else ""
    return LaunchError(f"{about}: {what}: {step}{', '.join(parts)}{where}", failure.errno)


def _program_text(about: str, failure: native.Failure) -> str:
    """In lower case, for docker compares letter by letter."""
    program = failure.path
    why = os.strerror(failure.errno).lower()
    if failure.step == "search" and failure.errno == ENOENT:
        return f"{about}: executable file `{program}` not found in $PATH: {why}"
    if failure.errno == EISDIR:
        why += ": permission denied"  # podman looks for this, docker for "is a directory"
    hint = ""
    if failure.step == "execve" and failure.errno == ENOENT:
        hint = "; the interpreter that it names is missing"
    elif failure.step == "execve" and failure.errno == 8:  # ENOEXEC
        hint = "; it is no program for this machine, and no script with #!"
    return f"{about}: exec `{program}`: {why}{hint}"
