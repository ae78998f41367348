# SPDX-License-Identifier: Apache-2.0
"""The launch plans of ``create`` and ``exec``: the order of everything that init does."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.mounts import MS_PRIVATE, MS_SHARED, MS_UNBINDABLE, NODEV, NOEXEC, NOSUID, RDONLY
from pyoci.kernel.namespaces import NEWNET, NEWPID, NEWUSER, TYPES
from pyoci.plan import devices, namespaces, ops, process
from pyoci.plan.facts import Layout
from pyoci.plan.mounts import Mounts
from pyoci.plan.outside import OomScoreAdj, SchedSetattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.config.normal import ContainerConfig, Joined
    from pyoci.config.process import ProcessConfig
    from pyoci.plan.facts import Facts

ABSENT = ops.errnos(2, 20)  # ENOENT, ENOTDIR: a path that does not exist needs no mask
NO_KEYRINGS = ops.errnos(38)  # ENOSYS: a kernel without keyrings shares none
EMPTY_OPTIONS, EMPTY_ATTRIBUTES = ["size=4k", "mode=755"], RDONLY | NOSUID | NODEV | NOEXEC
TIMEOUT_MAX = (1 << 31) - 1  # ms


class LaunchPlan:
    """A plan.

    operations: of init; early_clones: how often init continues in a child until it is in its cgroup and namespaces;
    late_clones: how often after that; filtered: whether a seccomp filter comes into force; outside: what the runtime
    sets on the complete process; joined: the namespaces to open before; layout: the numbers of init's descriptors.
    """

    __slots__ = ("early_clones", "filtered", "joined", "late_clones", "layout", "operations", "outside")

    def __init__(self, layout: Layout, joined: Iterable[Joined] = ()) -> None:
        self.layout = layout
        self.joined = joined
        self.early_clones = 0
        self.filtered = False
        self.late_clones = 0
        self.operations: list[ops.Op] = []
        self.outside: list[OomScoreAdj | SchedSetattr] = []


def create_plan(config: ContainerConfig, facts: Facts) -> LaunchPlan:
    """Returns the plan of ``create``. Raises SpecError."""
    new = config.namespaces.new
    body = config.process
    plan = LaunchPlan(Layout(facts.preserve_fds), config.namespaces.joined)
    plan.filtered = facts.seccomp is not None
    mounts = Mounts(config, facts)
    nodes = devices.operations(config, mounts, by_bind=config.namespaces.private(NEWUSER))
    steps = process.raised_limits(body)
    steps += namespaces.begin(config, plan.layout.first, facts.cgroup)
    plan.early_clones = sum(step.kind == protocol.PLAN_CLONE3 for step in steps)
    steps += _keyring(facts)
    steps += mounts.sources
    if new & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=True))
    if new & NEWNET:
        steps.append(ops.Loopback(""))
    steps += _root(config, facts)
    steps += mounts.steps
    steps += nodes
    steps += _names(config)
    steps.append(ops.Sync("", protocol.SYNC_MOUNTED))
    steps += _hooks(config, "createContainer")
    steps.append(ops.PivotRoot("", facts.no_pivot))
    propagation, recursive = config.propagation
    if propagation in (MS_SHARED, MS_UNBINDABLE):  # pivot_root(2) refuses a shared root
        steps.append(ops.Propagation("/linux/rootfsPropagation", "/", propagation, recursive))
    steps += _sysctl(config)
    steps += process.terminal(body, plan.layout.console, bind=True)
    steps.append(ops.Mkdir("/process/cwd", body.cwd))
    steps += _closing(config, mounts)
    steps += _personality(config.personality)
    plan.late_clones = int(config.namespaces.joins(NEWPID))
    steps += _scheduling(plan, body)
    steps += process.identity(body, facts)
    privileges = process.Privileges(body, facts)
    steps += _become_visible(plan, namespaces.become_member(config.namespaces, plan.layout.first), privileges)
    steps.append(ops.Setsid("", body.terminal))
    steps.append(ops.Created(""))
    steps += process.limits(body)
    steps += _hooks(config, "startContainer", privileges.filtered)
    steps += privileges.last
    plan.operations = steps
    return plan


def exec_plan(body: ProcessConfig, types: list[str], facts: Facts) -> LaunchPlan:
    """Returns the plan of ``exec``. body: the process; types: the container's own namespaces.

    They are entered through the pidfd of its init with one setns (setns(2)). So a PID namespace gets its new member
    only by the last clone.
    """
    plan = LaunchPlan(Layout(facts.preserve_fds))
    plan.filtered = facts.seccomp is not None
    first, cgroup = plan.layout.first, facts.cgroup
    flags = 0
    for kind in types:
        flags |= TYPES[kind][0]
    steps = process.raised_limits(body)
    if cgroup.by_clone:
        plan.early_clones = 1
        steps.append(ops.Clone3("", 0, first + 1))
    if cgroup.count:
        steps.append(ops.EnterCgroup("", first + 1 + cgroup.by_clone, cgroup.count, cgroup.path))
    steps.append(ops.Setns("", first, flags, "container", 0))
    if flags & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=False))
    steps += _keyring(facts)
    steps += process.terminal(body, plan.layout.console, bind=False)
    steps += _personality(facts.personality)
    plan.late_clones = int(bool(flags & NEWPID))
    steps += _scheduling(plan, body)
    steps += process.identity(body, facts)
    privileges = process.Privileges(body, facts)
    steps += _become_visible(plan, [], privileges)
    steps.append(ops.Setsid("", body.terminal))
    steps.append(ops.Sync("", protocol.SYNC_STARTING))
    steps += process.limits(body)
    steps += privileges.last
    plan.operations = steps
    return plan


def _become_visible(plan: LaunchPlan, before: list[ops.Op], privileges: process.Privileges) -> list[ops.Op]:
    """Returns the operations at the border. After it, processes in the container may see this one, and take it over
    with CAP_SYS_PTRACE (CVE-2016-9962). So it must not have anything that the container does not have: no capability,
    and no root, working directory, program or descriptor of the host.

    before: the way into a joined PID namespace, of which a child is then a member. Without one, the process is alone in
    a new namespace until exec, or in the host's.
    """
    child = [ops.Clone3("", 0, -1)] if plan.late_clones else []
    return [*before, ops.CloseRange(""), *privileges.drop, *child]


def _scheduling(plan: LaunchPlan, body: ProcessConfig) -> list[ops.Op]:
    """Returns the scheduling and I/O priority that init sets. The runtime sets what init cannot."""
    steps: list[ops.Op] = []
    if body.oom_score_adj is not None:
        plan.outside.append(OomScoreAdj(f"{body.at}/oomScoreAdj", body.oom_score_adj))
    for policy in process.scheduling(body):
        if plan.late_clones and not process.is_inherited(policy):
            plan.outside.append(SchedSetattr(policy))
        else:
            steps.append(policy)
    return steps + process.priority(body)


def _keyring(facts: Facts) -> list[ops.Op]:
    return [ops.Keyring("", facts.keyring, NO_KEYRINGS)] if facts.keyring else []


def _personality(number: int | None) -> list[ops.Op]:
    return [] if number is None else [ops.Personality("/linux/personality", number)]


def _root(config: ContainerConfig, facts: Facts) -> list[ops.Op]:
    """Returns the root and its propagation: later mounts must not reach the host, unless the config asks for it."""
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
    """Returns what hides paths and makes them read-only. After it, nothing is created in the root."""
    steps = list(mounts.last)
    steps += [ops.Readonly(where, path, ABSENT) for path, where in config.readonly]
    if config.masked:
        empty = mounts.new_slot("/linux/maskedPaths")
        steps.append(ops.Fsmount("/linux/maskedPaths", empty, "tmpfs", EMPTY_OPTIONS, EMPTY_ATTRIBUTES))
        steps += [ops.Mask(where, path, empty, ABSENT) for path, where in config.masked]
    if config.root_readonly:
        steps.append(ops.MountSetattr("/root/readonly", "/", 0, RDONLY, 0, 0))
    return steps


def _hooks(config: ContainerConfig, kind: str, filtered: bool = False) -> list[ops.Op]:
    """Returns the hooks of a kind. Without an env they have the process's, as in runc; only startContainer has HOME."""
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
            filtered,
        )
        for index, hook in enumerate(config.hooks.get(kind, ()))
    ]
