# SPDX-License-Identifier: Apache-2.0
"""``exec``: one more process in a running container."""

from __future__ import annotations

import os

from pyoci import protocol
from pyoci.container import launch, pidfile
from pyoci.container.launch import Child
from pyoci.errors import NotRunning, PyociError, SpecError, UsageError
from pyoci.plan.facts import Facts
from pyoci.plan.order import exec_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyoci.cgroup import Cgroup
    from pyoci.config.documents import Process
    from pyoci.container.state import State


class ExecOptions:
    """What the caller of ``exec`` may choose; the names are those of CreateOptions.

    cgroups: controller → path below the container's cgroup, "" for all controllers; document: what messages call the
    process document; starting: called when the program is about to run.
    """

    __slots__ = (
        "cgroups",
        "console_fd",
        "console_socket",
        "detach",
        "document",
        "extra_env",
        "ignore_paused",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "starting",
        "stdio",
    )

    def __init__(
        self,
        pid_file: str = "",
        pidfd_socket: str = "",
        console_socket: str = "",
        console_fd: int = -1,
        detach: bool = False,
        document: str = "process",
        preserve_fds: int = 0,
        extra_env: Sequence[str] = (),
        cgroups: dict[str, str] | None = None,
        ignore_paused: bool = False,
        stdio: Sequence[int] = (0, 1, 2),
        starting: Callable[[], None] | None = None,
    ) -> None:
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.console_socket = console_socket
        self.console_fd = console_fd
        self.detach = detach
        self.document = document
        self.preserve_fds = preserve_fds
        self.extra_env = list(extra_env)
        self.cgroups = cgroups or {}
        self.ignore_paused = ignore_paused
        self.stdio = stdio
        self.starting = starting


def execute(state: State, process: Process, options: ExecOptions) -> Child:
    """Runs ``process`` in the container of ``state``, and returns when its execve has succeeded.

    The child is this process's own to wait for. Raises NotRunning, LaunchError, SpecError.
    """
    if not options.detach:
        from pyoci.container.terminal import hold_signals

        hold_signals()
    target = _open_running(state, options)
    try:
        plan = exec_plan(process, state.namespaces, _facts(state, process, options))
        with launch.Launch(f"exec {state.id}", plan, options.document) as running:
            console = _console(process, options)
            score = process.get("oomScoreAdj")
            try:
                running.spawn(options.stdio, -1, console, [target], _group(state, options), wait=score is not None)
            finally:
                if options.console_socket and console >= 0:
                    os.close(console)
            assert running.child is not None
            launch.set_oom_score(running.child.pid, score)
            running.answer()
            running.expect(protocol.SYNC_STARTING)
            if options.starting is not None:
                options.starting()
            running.answer()
            running.expect(protocol.SYNC_NONE)  # the end of the socket: execve closed it
            _tell(running, options, state.id)
            return running.finish()
    finally:
        os.close(target)


def _open_running(state: State, options: ExecOptions) -> int:
    """A pidfd of init. Raises NotRunning; a paused container would leave the process hanging."""
    status = state.status()
    if status not in ("running", "created", "paused"):
        raise NotRunning(state.id, "exec", status)
    if status == "paused" and not options.ignore_paused:
        raise PyociError(f"exec {state.id}: container is paused; resume it first, or use --ignore-paused")
    pidfd = state.open_init()
    if pidfd < 0:
        raise NotRunning(state.id, "exec")
    return pidfd


def _facts(state: State, process: Process, options: ExecOptions) -> Facts:
    facts = Facts(state.bundle)
    facts.preserve_fds = options.preserve_fds
    facts.extra_env = options.extra_env
    facts.keyring = state.keyring
    if state.seccomp >= 0:
        descriptor = os.open(f"{state.directory}/seccomp.bpf", os.O_RDONLY | os.O_CLOEXEC)
        try:
            facts.seccomp = (os.read(descriptor, 1 << 20), state.seccomp)
        finally:
            os.close(descriptor)
    return facts


def _console(process: Process, options: ExecOptions) -> int:
    if not process.get("terminal"):
        if options.console_socket:
            raise SpecError(
                "/terminal", "--console-socket is given, but no terminal is asked for", False, document=options.document
            )
        return -1
    if options.console_socket:
        from pyoci.container.terminal import connect_console

        return connect_console(options.console_socket)
    if options.console_fd < 0:
        raise SpecError(
            "/terminal", "a terminal needs somebody to take it", True, "give --console-socket", options.document
        )
    return options.console_fd


def _group(state: State, options: ExecOptions) -> Cgroup:
    """The container's cgroup, or the one below it that --cgroup names. Raises UsageError."""
    group = state.group()
    if not options.cgroups or group.manager == "disabled":
        return group
    paths = dict(group.paths)
    for controller, below in options.cgroups.items():
        parts = [part for part in below.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"exec: flag --cgroup: {below!r} holds .., which would leave the container's cgroup")
        chosen = [controller] if controller else list(paths)
        for name in chosen:
            if name not in paths:
                raise UsageError(f"exec: flag --cgroup: the container has no cgroup of controller {name}")
            paths[name] = "/".join((paths[name], *parts))
            if not os.path.isdir(paths[name]):
                raise UsageError(f"exec: flag --cgroup: there is no cgroup {paths[name]}")
    return type(group)(group.path, paths) if "unified" not in paths else cgroup_v2(group.path, paths["unified"])


def cgroup_v2(path: str, directory: str) -> Cgroup:
    """The one directory of a v2 cgroup as an object."""
    from pyoci.cgroup.v2 import V2

    return V2(path, directory)


def _tell(running: launch.Launch, options: ExecOptions, container_id: str) -> None:
    assert running.child is not None
    if options.pidfd_socket:
        from pyoci.container.terminal import send_pidfd

        send_pidfd(options.pidfd_socket, running.child.pidfd)
    if options.pid_file:
        pidfile.write(options.pid_file, running.child.pid, f"exec {container_id}")
