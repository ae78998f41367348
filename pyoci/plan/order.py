# SPDX-License-Identifier: Apache-2.0
"""The launch plan of a container, and of a process that joins one: the order of everything init does."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.mounts import MS_PRIVATE, MS_SHARED, MS_UNBINDABLE, NODEV, NOEXEC, NOSUID, RDONLY
from pyoci.kernel.namespaces import NEWNET, NEWPID, NEWUSER, TYPES
from pyoci.plan import devices, namespaces, ops, process
from pyoci.plan.facts import Layout
from pyoci.plan.mounts import Mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.config.normal import ContainerConfig, Joined
    from pyoci.config.process import ProcessConfig
    from pyoci.plan.facts import Facts

ABSENT = ops.errnos(2, 20)  # ENOENT, ENOTDIR: what is not there needs no mask, and neither does what is behind a file
NO_KEYRINGS = ops.errnos(38)  # ENOSYS: a kernel without them has none to share
EMPTY_OPTIONS, EMPTY_ATTRIBUTES = ["size=4k", "mode=755"], RDONLY | NOSUID | NODEV | NOEXEC
TIMEOUT_MAX = (1 << 31) - 1  # ms


class LaunchPlan:
    """Operations; the flags for clone3, the namespaces to open beforehand, whether init goes on in a child to be in
    its PID namespace; and where init finds its descriptors."""

    __slots__ = ("clone_flags", "in_child", "joined", "layout", "operations")

    def __init__(self, layout: Layout, clone_flags: int = 0, joined: Iterable[Joined] = ()) -> None:
        self.layout = layout
        self.clone_flags = clone_flags
        self.joined = joined
        self.in_child = False
        self.operations: list[ops.Op] = []


def create_plan(config: ContainerConfig, facts: Facts) -> LaunchPlan:
    """The plan of ``create``. Raises SpecError."""
    new, joined = config.namespaces.new, config.namespaces.joined
    plan = LaunchPlan(Layout(facts.preserve_fds), namespaces.clone_flags(config.namespaces), joined)
    in_user_namespace = config.namespaces.private(NEWUSER)
    mounts = Mounts(config, facts)
    nodes = devices.operations(config, mounts, by_bind=in_user_namespace)
    become_member = namespaces.become_member(config.namespaces)
    plan.in_child = bool(become_member)
    steps: list[ops.Op] = [ops.Setsid("")]
    if facts.keyring:
        steps.append(ops.Keyring("", facts.keyring, NO_KEYRINGS))
    hidden = _hidden_until_pivoted(config)
    before, on_proc = _split_at_proc(mounts.steps) if hidden else (mounts.steps, [])
    steps += namespaces.operations(config, plan.layout.first)
    steps += [] if hidden else become_member
    steps += mounts.sources
    if new & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=True))
    if new & NEWNET:
        steps.append(ops.Loopback(""))
    steps += _root(config, facts)
    steps += before
    steps += nodes
    steps += _names(config)
    steps.append(ops.Sync("", protocol.SYNC_MOUNTED))
    steps += _hooks(config, "createContainer")
    steps.append(ops.PivotRoot("", facts.no_pivot))
    propagation, recursive = config.propagation
    if propagation in (MS_SHARED, MS_UNBINDABLE):  # pivot_root(2) refuses a shared root
        steps.append(ops.Propagation("/linux/rootfsPropagation", "/", propagation, recursive))
    steps += become_member if hidden else []
    steps += on_proc
    steps += _sysctl(config)
    steps += process.terminal(config.process, plan.layout.console, bind=True)
    steps.append(ops.Mkdir("/process/cwd", config.process.cwd))
    steps += _closing(config, mounts)
    steps += process.limits(config.process)
    if config.personality is not None:
        steps.append(ops.Personality("/linux/personality", config.personality))
    steps += process.identity(config.process, facts)
    steps.append(ops.Created(""))
    steps += _hooks(config, "startContainer")
    steps += process.privileges(config.process, facts)
    plan.operations = steps
    return plan


def exec_plan(body: ProcessConfig, types: list[str], facts: Facts) -> LaunchPlan:
    """The plan of ``exec``: ``body`` is the process, ``types`` the container's own namespaces, which are entered
    through the pidfd of its init in one setns (setns(2)).

    All are entered before the PID namespace has its new member: whoever watches it from inside never sees a process
    whose root, descriptors or program are the host's (CVE-2016-9962).
    """
    plan = LaunchPlan(Layout(facts.preserve_fds))
    flags = 0
    for kind in types:
        flags |= TYPES[kind][0]
    steps: list[ops.Op] = [ops.Setns("", plan.layout.first, flags, "container")]
    if flags & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=False))
    if flags & NEWPID:
        steps.append(ops.Clone3("", 0))
    steps.append(ops.Setsid(""))
    if facts.keyring:
        steps.append(ops.Keyring("", facts.keyring, NO_KEYRINGS))
    steps += process.terminal(body, plan.layout.console, bind=False)
    steps += process.limits(body)
    steps += process.identity(body, facts)
    steps.append(ops.Sync("", protocol.SYNC_STARTING))
    steps += process.privileges(body, facts)
    plan.operations = steps
    return plan


def _hidden_until_pivoted(config: ContainerConfig) -> bool:
    """Whether init becomes a member of a joined PID namespace only when its root is the container's: whoever watches
    from inside, with CAP_SYS_PTRACE, then never finds the host behind /proc/PID/root (as in CVE-2016-9962).

    Not with hooks that run before pivot_root, for they are given init's PID, and it must stay. Not with a user
    namespace, whose procfs the kernel refuses where no other is in sight any more (mount_too_revealing in the kernel).
    """
    found = config.namespaces
    early = any(kind in config.hooks for kind in ("prestart", "createRuntime", "createContainer"))
    return found.joins(NEWPID) and not found.private(NEWUSER) and not early


def _split_at_proc(steps: list[ops.Op]) -> tuple[list[ops.Op], list[ops.Op]]:
    """The mounts that need no PID namespace, and each procfs with what is mounted on it. Sources are the host's."""
    places = [step.path for step in steps if isinstance(step, ops.Mount) and step.type == "proc"]
    before: list[ops.Op] = []
    on_proc: list[ops.Op] = []
    for step in steps:
        path = "" if isinstance(step, ops.OpenTree) else getattr(step, "path", "")
        inside = any(path == place or path.startswith(place + "/") for place in places)
        (on_proc if inside else before).append(step)
    return before, on_proc


def _root(config: ContainerConfig, facts: Facts) -> list[ops.Op]:
    """Nothing that is mounted from here on may reach the host, unless the config asks for it."""
    propagation, _ = config.propagation
    steps: list[ops.Op] = []
    if propagation != MS_SHARED:
        before = MS_PRIVATE if propagation == MS_UNBINDABLE else propagation
        steps.append(ops.Propagation("/linux/rootfsPropagation", "/", before, recursive=True))
    steps.append(ops.Rootfs("/root/path", facts.rootfs, parent_private=propagation == MS_SHARED))
    return steps


def _names(config: ContainerConfig) -> list[ops.Op]:
    steps: list[ops.Op] = []
    if config.hostname:
        steps.append(ops.Sethostname("/hostname", config.hostname))
    if config.domainname:
        steps.append(ops.Setdomainname("/domainname", config.domainname))
    return steps


def _sysctl(config: ContainerConfig) -> list[ops.Op]:
    return [ops.ProcWrite(each.where, f"sys/{each.path}", each.value) for each in config.sysctl]


def _closing(config: ContainerConfig, mounts: Mounts) -> list[ops.Op]:
    """What hides and locks; after it nothing is made in the root any more."""
    steps = list(mounts.last)
    steps += [ops.Readonly(where, path, ABSENT) for path, where in config.readonly]
    if config.masked:
        empty = mounts.new_slot("/linux/maskedPaths")
        steps.append(ops.Fsmount("/linux/maskedPaths", empty, "tmpfs", EMPTY_OPTIONS, EMPTY_ATTRIBUTES))
        steps += [ops.Mask(where, path, empty, ABSENT) for path, where in config.masked]
    if config.root_readonly:
        steps.append(ops.MountSetattr("/root/readonly", "/", 0, RDONLY, 0, 0))
    return steps


def _hooks(config: ContainerConfig, kind: str) -> list[ops.Op]:
    """Without an env of their own they have the process's, as in runc; HOME is known to startContainer hooks alone."""
    inherit = kind == "startContainer"
    otherwise = [] if inherit else list(config.process.env.values())
    return [
        ops.Hook(
            f"/hooks/{kind}/{index}",
            hook["path"],
            hook.get("args") or [hook["path"]],
            hook.get("env", otherwise),
            inherit and "env" not in hook,
            min(1000 * hook.get("timeout", 0), TIMEOUT_MAX),
        )
        for index, hook in enumerate(config.hooks.get(kind, ()))
    ]
