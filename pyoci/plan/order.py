# SPDX-License-Identifier: Apache-2.0
"""The launch plan of a container, and of a process that joins one: the order of everything init does."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel import parameters
from pyoci.kernel.mounts import MS_PRIVATE, MS_SHARED, MS_UNBINDABLE, NODEV, NOEXEC, NOSUID, PROPAGATION, RDONLY
from pyoci.kernel.namespaces import NEWNET, NEWPID, NEWUSER, TYPES
from pyoci.kernel.process import PERSONALITIES
from pyoci.plan import devices, ops, process
from pyoci.plan.facts import Layout
from pyoci.plan.mounts import Mounts
from pyoci.plan.namespaces import Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyoci.config.documents import Config, Hook, Process
    from pyoci.plan.facts import Facts

ABSENT = ops.errnos(2, 20)  # ENOENT, ENOTDIR: what is not there needs no mask, and neither does what is behind a file
NO_KEYRINGS = ops.errnos(38)  # ENOSYS: a kernel without them has none to share
EMPTY_OPTIONS, EMPTY_ATTRIBUTES = ["size=4k", "mode=755"], RDONLY | NOSUID | NODEV | NOEXEC
TIMEOUT_MAX = (1 << 31) - 1  # ms


class LaunchPlan:
    """Operations, the namespaces to open beforehand, and where init finds its descriptors."""

    __slots__ = ("layout", "namespaces", "operations")

    def __init__(self, operations: list[ops.Op], namespaces: Namespaces | None, layout: Layout) -> None:
        self.operations = operations
        self.namespaces = namespaces
        self.layout = layout


def create_plan(config: Config, facts: Facts) -> LaunchPlan:
    """The plan of ``create``. Raises SpecError."""
    namespaces = Namespaces(config)
    layout = Layout(facts.preserve_fds)
    in_user_namespace = namespaces.private(NEWUSER)
    body = config["process"]
    mounts = Mounts(facts, sources_first=in_user_namespace)
    for index, mount in enumerate(config.get("mounts") or ()):
        mounts.add(mount, f"/mounts/{index}")
    nodes = devices.operations(config, mounts, by_bind=in_user_namespace)
    steps: list[ops.Op] = [ops.Setsid("")]
    if facts.keyring:
        steps.append(ops.Keyring("", facts.keyring, NO_KEYRINGS))
    hidden = _hidden_until_pivoted(config, namespaces)
    before, on_proc = _split_at_proc(mounts.steps) if hidden else (mounts.steps, [])
    steps += namespaces.operations(layout.first, clone=not hidden)
    steps += mounts.sources
    if namespaces.new & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=True))
    if namespaces.new & NEWNET:
        steps.append(ops.Loopback(""))
    steps += _root(config, facts)
    steps += before
    steps += nodes
    steps += _names(config)
    steps.append(ops.Sync("", protocol.SYNC_MOUNTED))
    steps += _hooks(config, "createContainer")
    steps.append(ops.PivotRoot("", facts.no_pivot))
    propagation, recursive = _propagation(config)
    if propagation in (MS_SHARED, MS_UNBINDABLE):  # pivot_root(2) refuses a shared root
        steps.append(ops.Propagation("/linux/rootfsPropagation", "/", propagation, recursive))
    steps += namespaces.become_member() if hidden else []
    steps += on_proc
    steps += _sysctl(config)
    steps += process.terminal(body, facts, layout.console, bind=True)
    steps.append(ops.Mkdir("/process/cwd", body["cwd"]))
    steps += _closing(config, mounts)
    steps += process.limits(body)
    personality = (config.get("linux") or {}).get("personality")
    if personality:
        number = PERSONALITIES[personality["domain"]]
        steps.append(ops.Personality("/linux/personality", number))
    steps += process.identity(body, facts)
    steps.append(ops.Created(""))
    steps += _hooks(config, "startContainer")
    steps += process.privileges(body, facts)
    return LaunchPlan(steps, namespaces, layout)


def exec_plan(body: Process, types: list[str], facts: Facts) -> LaunchPlan:
    """The plan of ``exec``: ``body`` is the process, ``types`` the container's own namespaces, which are entered
    through the pidfd of its init in one setns (setns(2)).

    All are entered before the PID namespace has its new member: whoever watches it from inside never sees a process
    whose root, descriptors or program are the host's (CVE-2016-9962).
    """
    layout = Layout(facts.preserve_fds)
    flags = 0
    for kind in types:
        flags |= TYPES[kind][0]
    steps: list[ops.Op] = [ops.Setns("", layout.first, flags, "container")]
    if flags & NEWUSER:
        steps.append(ops.BecomeRoot("", clear_groups=False))
    if flags & NEWPID:
        steps.append(ops.Clone3("", 0))
    steps.append(ops.Setsid(""))
    if facts.keyring:
        steps.append(ops.Keyring("", facts.keyring, NO_KEYRINGS))
    steps += process.terminal(body, facts, layout.console, bind=False)
    steps += process.limits(body)
    steps += process.identity(body, facts)
    steps.append(ops.Sync("", protocol.SYNC_STARTING))
    steps += process.privileges(body, facts)
    return LaunchPlan(steps, None, layout)


def _hidden_until_pivoted(config: Config, namespaces: Namespaces) -> bool:
    """Whether init becomes a member of a joined PID namespace only when its root is the container's: whoever watches
    from inside, with CAP_SYS_PTRACE, then never finds the host behind /proc/PID/root (as in CVE-2016-9962).

    Not with hooks that run before pivot_root, for they are given init's PID, and it must stay. Not with a user
    namespace, whose procfs the kernel refuses where no other is in sight any more (mount_too_revealing in the kernel).
    """
    hooks = config.get("hooks") or {}
    early = any(hooks.get(kind) for kind in ("prestart", "createRuntime", "createContainer"))
    return namespaces.joins(NEWPID) and not namespaces.private(NEWUSER) and not early


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


def _root(config: Config, facts: Facts) -> list[ops.Op]:
    """Nothing that is mounted from here on may reach the host, unless the config asks for it."""
    propagation, _ = _propagation(config)
    steps: list[ops.Op] = []
    if propagation != MS_SHARED:
        before = MS_PRIVATE if propagation == MS_UNBINDABLE else propagation
        steps.append(ops.Propagation("/linux/rootfsPropagation", "/", before, recursive=True))
    steps.append(ops.Rootfs("/root/path", facts.rootfs, parent_private=propagation == MS_SHARED))
    return steps


def _propagation(config: Config) -> tuple[int, bool]:
    """rootfsPropagation as MS_* and whether it is recursive."""
    wish = (config.get("linux") or {}).get("rootfsPropagation") or "rslave"
    return PROPAGATION[wish.removeprefix("r")], wish.startswith("r")


def _names(config: Config) -> list[ops.Op]:
    steps: list[ops.Op] = []
    if config.get("hostname"):
        steps.append(ops.Sethostname("/hostname", config["hostname"]))
    if config.get("domainname"):
        steps.append(ops.Setdomainname("/domainname", config["domainname"]))
    return steps


def _sysctl(config: Config) -> list[ops.Op]:
    settings = (config.get("linux") or {}).get("sysctl") or {}
    return [
        ops.ProcWrite(f"/linux/sysctl/{_escaped(key)}", "sys/" + parameters.path(key), value)
        for key, value in settings.items()
    ]


def _closing(config: Config, mounts: Mounts) -> list[ops.Op]:
    """What hides and locks; after it nothing is made in the root any more."""
    linux = config.get("linux") or {}
    steps = list(mounts.last)
    for index, path in enumerate(linux.get("readonlyPaths") or ()):
        steps.append(ops.Readonly(f"/linux/readonlyPaths/{index}", path, ABSENT))
    masked = linux.get("maskedPaths") or ()
    if masked:
        empty = mounts.new_slot("/linux/maskedPaths")
        steps.append(ops.Fsmount("/linux/maskedPaths", empty, "tmpfs", EMPTY_OPTIONS, EMPTY_ATTRIBUTES))
    for index, path in enumerate(masked):
        steps.append(ops.Mask(f"/linux/maskedPaths/{index}", path, empty, ABSENT))
    if config["root"].get("readonly"):
        steps.append(ops.MountSetattr("/root/readonly", "/", 0, RDONLY, 0, 0))
    return steps


def _hooks(config: Config, kind: str) -> list[ops.Op]:
    given: Mapping[str, Any] = config.get("hooks") or {}
    hooks: Sequence[Hook] = given.get(kind) or ()
    return [
        ops.Hook(
            f"/hooks/{kind}/{index}",
            hook["path"],
            hook.get("args") or [hook["path"]],
            hook.get("env") or [],
            min(1000 * (hook.get("timeout") or 0), TIMEOUT_MAX),
        )
        for index, hook in enumerate(hooks)
    ]


def _escaped(key: str) -> str:
    """A reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
