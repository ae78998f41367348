# SPDX-License-Identifier: Apache-2.0
"""``create``: everything up to the moment when init waits for ``start`` (runtime.md, "Create")."""

from __future__ import annotations

import os

from pyoci import cgroup, native, protocol
from pyoci.config import load
from pyoci.container import hooks, launch, pidfile, processes
from pyoci.container.paths import Lock, Root, remove_directory
from pyoci.container.state import State, now, owner
from pyoci.errors import CgroupError, HookError, LaunchError, OutOfMemory, PyociError, SpecError
from pyoci.kernel.namespaces import NEWPID
from pyoci.plan.facts import Facts
from pyoci.plan.order import create_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pyoci.cgroup import Cgroup
    from pyoci.cgroup.files import Setting
    from pyoci.config.documents import Config
    from pyoci.plan.order import LaunchPlan

LATER_HOOKS = ("startContainer", "poststart", "poststop")  # what later verbs must know of


class CreateOptions:
    """What the caller of ``create`` may choose.

    config: file name, relative to the bundle; pid_file, pidfd_socket, console_socket: paths or ""; console_fd: a
    connected console socket instead of a path, or -1; preserve_fds: how many from 3 on; stdio: what becomes 0-2;
    extra_env: added to the process's environment.
    """

    __slots__ = (
        "cgroup_manager",
        "config",
        "console_fd",
        "console_socket",
        "extra_env",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "stdio",
    )

    def __init__(
        self,
        config: str = "config.json",
        pid_file: str = "",
        pidfd_socket: str = "",
        console_socket: str = "",
        console_fd: int = -1,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        no_subreaper: bool = False,
        preserve_fds: int = 0,
        cgroup_manager: str = "cgroupfs",
        stdio: Sequence[int] = (0, 1, 2),
        extra_env: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.console_socket = console_socket
        self.console_fd = console_fd
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.no_subreaper = no_subreaper
        self.preserve_fds = preserve_fds
        self.cgroup_manager = cgroup_manager
        self.stdio = stdio
        self.extra_env = list(extra_env)


def create(root: Root, container_id: str, bundle: str, options: CreateOptions) -> State:
    """Creates a container from a bundle and leaves its init waiting.

    bundle: absolute path. Gives the saved state. Raises PyociError; then nothing is left behind.
    """
    state, pidfd = _make(root, container_id, bundle, options, load.config(bundle, options.config), None)
    os.close(pidfd)
    return state


def create_started(
    root: Root,
    container_id: str,
    bundle: str,
    options: CreateOptions,
    config: Config,
    starting: Callable[[], None],
) -> tuple[State, int]:
    """``create`` and ``start`` in one, but for the poststart hooks: init need not wait for another process.

    config: what load.config gave for the bundle; starting: called when the program is about to run. Gives the state
    and a pidfd of init, for the caller to close. Raises PyociError; then nothing is left behind.
    """
    return _make(root, container_id, bundle, options, config, starting)


def _make(
    root: Root,
    container_id: str,
    bundle: str,
    options: CreateOptions,
    config: Config,
    starting: Callable[[], None] | None,
) -> tuple[State, int]:
    root.container(container_id)
    rootfs = _check(config, bundle, options)
    host = cgroup.host()
    path = cgroup.resolve((config.get("linux") or {}).get("cgroupsPath"), container_id)
    group = cgroup.manage(host, path, options.cgroup_manager)
    facts = gather(config, bundle, container_id, options, host, path, rootfs)
    plan = create_plan(config, facts)
    with Lock(root.new(container_id)) as lock:
        if not lock.take() or lock.gone():
            raise PyociError(f"create {container_id}: it is being deleted at this moment")
        try:
            state = _first_state(lock.directory, container_id, bundle, rootfs, config, group, facts, plan)
            pidfd = _create(state, config, group, plan, options, facts, starting)
        except BaseException:
            remove_directory(lock.directory)
            raise
    return state, pidfd


def _check(config: Config, bundle: str, options: CreateOptions) -> str:
    """What the document alone cannot tell; gives the absolute path of the root file system. Raises SpecError."""
    process = config.get("process")
    if process is None:
        raise SpecError("/process", "missing; a container needs a process to create")
    has_socket = bool(options.console_socket) or options.console_fd >= 0
    if process.get("terminal") and not has_socket:
        raise SpecError("/process/terminal", "a terminal needs somebody to take it", True, "give --console-socket")
    if has_socket and not process.get("terminal"):
        raise SpecError("/process/terminal", "--console-socket is given, but no terminal is asked for", False)
    rootfs = root_path(config, bundle)
    if not os.path.isdir(rootfs):
        raise SpecError("/root/path", "there is no such directory", rootfs)
    return rootfs


def root_path(config: Config, bundle: str) -> str:
    """The root file system's absolute path, without symlinks."""
    return os.path.realpath(os.path.join(bundle, config["root"]["path"]))


def gather(
    config: Config,
    bundle: str,
    container_id: str,
    options: CreateOptions,
    host: cgroup.Host,
    path: str,
    rootfs: str = "",
) -> Facts:
    """The host's side of the plan. rootfs: what root_path() gave, if it was called."""
    facts = Facts(bundle, rootfs or root_path(config, bundle))
    linux = config.get("linux") or {}
    facts.preserve_fds = options.preserve_fds
    facts.no_pivot = options.no_pivot
    facts.extra_env = options.extra_env
    facts.keyring = "" if options.no_new_keyring else f"_ses.{container_id}"
    facts.cgroup_unified = host.unified
    facts.cgroup_namespace = any(entry["type"] == "cgroup" for entry in linux.get("namespaces") or ())
    inside = "" if options.cgroup_manager == "disabled" else path
    facts.cgroup_directories = [
        (mount.names, mount.mountpoint + inside) for mount in host.mounts if mount.unified == host.unified
    ]
    if linux.get("seccomp"):
        from pyoci import seccomp

        program = seccomp.compile(linux["seccomp"], seccomp.CACHE)
        facts.seccomp = (program.bpf, program.flags) if program.bpf else None
    return facts


def _first_state(
    directory: str,
    container_id: str,
    bundle: str,
    rootfs: str,
    config: Config,
    group: Cgroup,
    facts: Facts,
    plan: LaunchPlan,
) -> State:
    """The state before there is anything to remember but the cgroup. Not saved yet: what a crash leaves is found by
    what remember_init() wrote."""
    given: Mapping[str, Any] = config.get("hooks") or {}
    state = State(
        directory,
        {
            "id": container_id,
            "pid": 0,
            "started": 0,
            "boot": processes.boot_id(),
            "bundle": bundle,
            "rootfs": rootfs,
            "created": now(),
            "owner": owner(),
            "annotations": config.get("annotations") or {},
            "cgroup": group.state(),
            "namespaces": [entry["type"] for entry in (config.get("linux") or {}).get("namespaces") or ()],
            "shares_pid": int(not plan.namespaces or not plan.namespaces.new & NEWPID),
            "process": config["process"],
            "hooks": {kind: given[kind] for kind in LATER_HOOKS if given.get(kind)},
            "seccomp": facts.seccomp[1] if facts.seccomp else -1,
            "keyring": facts.keyring,
        },
    )
    state.remember_init()
    return state


def _store(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _create(
    state: State,
    config: Config,
    group: Cgroup,
    plan: LaunchPlan,
    options: CreateOptions,
    facts: Facts,
    starting: Callable[[], None] | None,
) -> int:
    """Cgroup, init, hooks, pid file, and for ``run`` the start. Gives init's pidfd. Undoes what it made when a step
    fails; the state directory is the caller's."""
    hooks_ran = False
    limits = group.create((config.get("linux") or {}).get("resources") or {})
    try:
        with launch.Launch(f"create {state.id}", plan) as running:
            ahead = _ahead(config, plan)
            wait = protocol.SYNC_GO not in ahead or config["process"].get("oomScoreAdj") is not None
            child = _spawn(running, state, plan, options, group, ahead, wait)
            if launch.maps_needed(plan):
                launch.write_maps(child.pid, config["linux"])
            launch.set_oom_score(child.pid, config["process"].get("oomScoreAdj"))
            if protocol.SYNC_GO not in ahead:
                running.answer()
            _while_init_mounts(state, running, group, limits, facts)
            running.expect(protocol.SYNC_MOUNTED)
            _know_init(state, running)
            hooks_ran = True
            if protocol.SYNC_STATE not in ahead:
                _runtime_hooks(state, config)
                running.answer(protocol.SYNC_STATE, _for_hooks(state, config, "createContainer"))
            running.expect(protocol.SYNC_CREATED)
            _know_init(state, running)
            state.publish()
            _tell(state, running, options)
            if starting is None:
                running.answer()
            else:
                _start(state, running, starting)
            return running.finish().pidfd
    except BaseException as error:
        killed = group.oom_kills() if isinstance(error, LaunchError) else 0
        _undo(state, group, hooks_ran)
        if killed:
            raise _out_of_memory(state) from error
        raise


def _out_of_memory(state: State) -> OutOfMemory:
    hint = "config.json: /linux/resources/memory/limit is too small"
    return OutOfMemory(f"create {state.id}: the kernel killed pyoci-init, out of memory ({hint})")


def _start(state: State, running: launch.Launch, starting: Callable[[], None]) -> None:
    """What ``start`` does, by the socket that init has had all the time (csrc/plan.h). Raises LaunchError."""
    starting()
    running.about = f"start {state.id}"
    os.unlink(state.start_socket)
    running.answer(protocol.SYNC_START, state.text("created").encode() if state.hooks.get("startContainer") else b"")
    running.expect(protocol.SYNC_NONE)  # the end of the socket: execve closed it


def _ahead(config: Config, plan: LaunchPlan) -> list[int]:
    """The answers that init finds when it asks, because nothing of ours has to come before what they allow.

    Its first step has to wait where maps are to be written, or where init goes on in a child, which has to inherit
    all that is set from outside; its way into the new root, where hooks come before.
    """
    assert plan.namespaces is not None
    if launch.maps_needed(plan) or plan.namespaces.become_member():
        return []
    given = config.get("hooks") or {}
    if any(given.get(kind) for kind in ("prestart", "createRuntime", "createContainer")):
        return [protocol.SYNC_GO]
    return [protocol.SYNC_GO, protocol.SYNC_STATE]


def _while_init_mounts(
    state: State, running: launch.Launch, group: Cgroup, limits: list[Setting], facts: Facts
) -> None:
    """What has to be there before the first hook, or before create ends, but not before init begins.

    The limits are for the container's own program, and that begins at ``start`` at the earliest.
    """
    group.limit(limits)
    state.save(durable=False)  # without a process: it is in creation
    if facts.seccomp:
        _store(f"{state.directory}/seccomp.bpf", facts.seccomp[0])
    _know_init(state, running)


def _spawn(
    running: launch.Launch,
    state: State,
    plan: LaunchPlan,
    options: CreateOptions,
    group: Cgroup,
    ahead: list[int],
    wait: bool,
) -> launch.Child:
    """Opens what init needs, and clones it."""
    opened = launch.open_namespaces(plan)
    try:
        listener = native.listen(state.start_socket)
        opened.append(listener)
        console = options.console_fd
        if options.console_socket:
            from pyoci.container.terminal import connect_console

            console = connect_console(options.console_socket)
            opened.append(console)
        joined = opened[: len(plan.namespaces.join)] if plan.namespaces else []
        return running.spawn(options.stdio, listener, console, joined, group, ahead, wait)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _know_init(state: State, running: launch.Launch) -> None:
    """From here on ``delete --force`` finds init by its number, also if this process is killed; and the state of the
    created container is written, to be published. Again if init went on in a child, to be in a joined PID namespace.
    """
    assert running.child is not None
    if running.child.pid == state.pid:
        return
    state.pid = running.child.pid
    state.started = processes.start_time(state.pid)
    state.remember_init()
    state.write()


def _runtime_hooks(state: State, config: Config) -> None:
    given: Mapping[str, Any] = config.get("hooks") or {}
    for kind in ("prestart", "createRuntime"):
        if given.get(kind):
            hooks.run(kind, given[kind], state.text("creating"), f"/hooks/{kind}")


def _for_hooks(state: State, config: Config, kind: str) -> bytes:
    """The state for hooks that init runs; nothing if there are none."""
    return state.text("creating").encode() if (config.get("hooks") or {}).get(kind) else b""


def _tell(state: State, running: launch.Launch, options: CreateOptions) -> None:
    """Tells the caller who init is, before it is let go: who reads the pid file finds a created container."""
    if options.pidfd_socket:
        from pyoci.container.terminal import send_pidfd

        assert running.child is not None
        send_pidfd(options.pidfd_socket, running.child.pidfd)
    if options.pid_file:
        pidfile.write(options.pid_file, state.pid, f"create {state.id}")


def _undo(state: State, group: Cgroup, hooks_ran: bool) -> None:
    """The container was never created: its cgroup goes, and hooks that saw it begin see it end (runtime.md)."""
    try:
        group.discard()
    except CgroupError:
        pass  # the error that brought us here says more
    if hooks_ran and state.hooks.get("poststop"):
        try:
            hooks.run("poststop", state.hooks["poststop"], state.text("stopped"), "/hooks/poststop")
        except HookError:
            pass
