# SPDX-License-Identifier: Apache-2.0
"""What a configuration must satisfy beyond its schema: one small function per rule.

Each rule takes the normalised configuration. It returns None, or a Fault: the JSON pointer of the property, what is
wrong, its value, and what to do. The rules are pure. What depends on the host (whether a directory exists, whether the
source of a bind mount is a procfs, whether a joined namespace is the runtime's own) is checked where it is used.
"""

from __future__ import annotations

from pyoci.config.mounts import BIND, CGROUP, FILE_SYSTEM
from pyoci.kernel import parameters
from pyoci.kernel.mounts import ON_BIND, ON_PROC, OPTION_NAMES
from pyoci.kernel.namespaces import NEWTIME, NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pyoci.config.documents import IdMapping
    from pyoci.config.mounts import MountConfig
    from pyoci.config.normal import ContainerConfig
    from pyoci.config.process import ProcessConfig

    Fault = tuple[str, str, Any, str]

MAPPINGS_MAX = 340  # lines of /proc/PID/uid_map, user_namespaces(7)
GROUPS_MAX = 65536  # NGROUPS_MAX, getgroups(2)
CONSOLE_MAX = 65535  # struct winsize has 16 bits, ioctl_tty(2)
ERRNO_MAX = 4094  # what libseccomp takes; the kernel's MAX_ERRNO is one more
UTS_MAX = 64  # bytes of a name, uname(2)


def config(config: ContainerConfig) -> Fault | None:
    """Returns the first fault of a configuration, in the order of CONFIG_RULES and then PROCESS_RULES."""
    for rule in CONFIG_RULES:
        fault = rule(config)
        if fault:
            return fault
    return process(config.process)


def process(process: ProcessConfig) -> Fault | None:
    """Returns the first fault of a process."""
    for rule in PROCESS_RULES:
        fault = rule(process)
        if fault:
            return fault
    return None


def warnings(process: ProcessConfig) -> Iterator[tuple[str, str]]:
    """Returns what the user must be warned of (config.md, "capabilities"), as JSON pointers and texts."""
    sets = process.capabilities
    at = f"{process.at}/capabilities"
    if sets.unknown:
        yield at, f"unknown capabilities are not granted: {', '.join(sets.unknown)}"
    if sets.not_inheritable:
        names = ", ".join(sets.not_inheritable)
        yield f"{at}/ambient", f"not granted, because not both permitted and inheritable: {names}"


def _namespace_types(config: ContainerConfig) -> Fault | None:
    types = config.namespaces.types
    for index, kind in enumerate(types):
        if kind in types[:index]:
            return f"/linux/namespaces/{index}/type", "listed twice", kind, "list each type once"
    if "mount" not in types:
        hint = "without it root, mounts, maskedPaths and readonlyPaths would change the host"
        return "/linux/namespaces", "a namespace of type mount is missing", None, hint
    return None


def _hostname(config: ContainerConfig) -> Fault | None:
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and "uts" not in config.namespaces.types:
            return f"/{name}", "set without a namespace of type uts", value, "add one to linux.namespaces"
        if len(value) > UTS_MAX // 4 and len(value.encode("utf-8", "surrogateescape")) > UTS_MAX:
            return f"/{name}", "too long", value, f"at most {UTS_MAX} bytes"
    return None


def _mappings(config: ContainerConfig) -> Fault | None:
    new, joined = config.namespaces.new & NEWUSER, config.namespaces.joins(NEWUSER)
    for name, mappings in (("uidMappings", config.uid_mappings), ("gidMappings", config.gid_mappings)):
        at = f"/linux/{name}"
        if mappings and not (new or joined):
            return at, "set without a namespace of type user", None, "add one to linux.namespaces"
        if new and not mappings:
            return at, "missing", None, "a new namespace of type user needs uidMappings and gidMappings"
        if len(mappings) > MAPPINGS_MAX:
            return at, f"has {len(mappings)} entries", None, f"the kernel takes {MAPPINGS_MAX}"
        for index, each in enumerate(mappings):
            fault = _mapping(each, mappings[:index])
            if fault:
                return f"{at}/{index}/{fault[0]}", *fault[1:]
    return None


def _mapping(mapping: IdMapping, earlier: list[IdMapping]) -> Fault | None:
    for name in ("containerID", "hostID"):
        start, end = _run(mapping, name)
        if end > 0xFFFFFFFF:
            return "size", "reaches beyond the last id", mapping["size"], "the last id is at most 4294967294"
        for other in earlier:
            other_start, other_end = _run(other, name)
            if start < other_end and other_start < end:
                return name, "overlaps with an earlier entry", start, "the kernel takes each id once"
    return None


def _run(mapping: IdMapping, name: str) -> tuple[int, int]:
    """Returns the first ID on one side of a mapping, and the one after the last."""
    start = mapping["containerID"] if name == "containerID" else mapping["hostID"]
    return start, start + mapping["size"]


def _time_offsets(config: ContainerConfig) -> Fault | None:
    if not config.time_offsets or config.namespaces.new & NEWTIME:
        return None
    at = "/linux/timeOffsets"
    if config.namespaces.joins(NEWTIME):
        return at, "set with a time namespace that is joined", None, "the offsets of a joined namespace are fixed"
    return at, "set without a namespace of type time", None, "add one to linux.namespaces"


def _sysctl(config: ContainerConfig) -> Fault | None:
    for parameter in config.sysctl:
        at, value = parameter.where, parameter.value
        needed = parameters.namespace(parameter.path)
        if not needed:
            hint = "only those of net, fs.mqueue and user, and some of kernel, are"
            return at, "not a parameter of a namespace", value, hint
        if needed not in config.namespaces.types:
            hint = f"it would change the host; add a namespace of type {needed}"
            return at, f"set without a namespace of type {needed}", value, hint
        if parameter.path == "kernel/hostname":
            return at, "not allowed", value, "set the property hostname"
    return None


def _mounts(config: ContainerConfig) -> Fault | None:
    for mount in config.mounts:
        fault = _place(mount) or _kind(mount) or _bind_options(mount)
        if fault:
            return f"{mount.where}/{fault[0]}", *fault[1:]
    return None


def _place(mount: MountConfig) -> Fault | None:
    """Checks that only a new procfs, a bind of one, and the files of lxcfs are mounted on procfs (CVE-2019-16884)."""
    target = mount.target
    if target == "/proc" and (mount.kind == CGROUP or (mount.kind == FILE_SYSTEM and mount.fs_type != "proc")):
        return "destination", "only a procfs may be mounted there", target, "set the type proc"
    if target[:10] == "/proc/net/":
        return "destination", "a mount does not last there", target, "the kernel takes it away at the next look"
    if target[:6] == "/proc/" and target not in ON_PROC:
        return "destination", "nothing may be mounted inside /proc", target, "use maskedPaths to hide a file"
    return None


def _kind(mount: MountConfig) -> Fault | None:
    if mount.kind == BIND and not mount.source:
        return "source", f"the bind mount {mount.target} has none", None, "it is a path of the host"
    if mount.kind == FILE_SYSTEM and not mount.fs_type:
        return "type", f"the mount {mount.target} has none", None, "set it, or the option bind or rbind"
    return None


def _bind_options(mount: MountConfig) -> Fault | None:
    """Refuses unknown options of a bind mount.

    The kernel ignores them, so a misspelt ``ro`` would leave it writable.
    """
    if mount.kind != BIND:
        return None
    for option in mount.data:
        name = option.partition("=")[0]
        if name not in ON_BIND and name[:2] not in ("x-", "X-"):
            return "options", "unknown for a bind mount", option, _known_options(name)
    return None


def _known_options(name: str) -> str:
    from difflib import get_close_matches  # slow, so only for an error

    near = get_close_matches(name, OPTION_NAMES, 1)
    return f"did you mean {near[0]}?" if near else "a bind mount takes ro, nosuid, nodev, noexec and the like"


def _seccomp_errno(config: ContainerConfig) -> Fault | None:
    seccomp = config.seccomp
    if not seccomp:
        return None
    at = "/linux/seccomp"
    fault = _errno(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    if fault:
        return f"{at}/defaultErrnoRet", *fault[1:]
    for index, syscall in enumerate(seccomp.get("syscalls", ())):
        fault = _errno(syscall["action"], syscall.get("errnoRet"))
        if fault:
            return f"{at}/syscalls/{index}/errnoRet", *fault[1:]
    return None


def _errno(action: str, number: int | None) -> Fault | None:
    if number is None or action == "SCMP_ACT_TRACE":
        return None
    if action != "SCMP_ACT_ERRNO":
        return "", f"set with {action}", number, "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have a number"
    if number > ERRNO_MAX:
        return "", "not an error number", number, f"expected an integer from 0 to {ERRNO_MAX}"
    return None


def _args(process: ProcessConfig) -> Fault | None:
    if not process.args:
        return f"{process.at}/args", "missing", None, "it is the program and its arguments"
    return None


def _groups(process: ProcessConfig) -> Fault | None:
    if len(process.groups) > GROUPS_MAX:
        at = f"{process.at}/user/additionalGids"
        return at, f"has {len(process.groups)} entries", None, f"the kernel takes {GROUPS_MAX} groups"
    return None


def _console_size(process: ProcessConfig) -> Fault | None:
    for name, value in (("height", process.rows), ("width", process.columns)):
        if value > CONSOLE_MAX:
            hint = f"expected an integer from 0 to {CONSOLE_MAX}"
            return f"{process.at}/consoleSize/{name}", "too large", value, hint
    return None


def _rlimits(process: ProcessConfig) -> Fault | None:
    seen = set()
    for limit in process.rlimits:
        if limit.number in seen:
            return f"{limit.where}/type", "listed twice", limit.name, "list each type once"
        if limit.soft > limit.hard:
            return f"{limit.where}/soft", "above the hard limit", limit.soft, f"at most {limit.hard}"
        seen.add(limit.number)
    return None


def _scheduler(process: ProcessConfig) -> Fault | None:
    scheduler = process.scheduler
    if not scheduler:
        return None
    at, policy = f"{process.at}/scheduler", scheduler.name
    if scheduler.priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        hint = "only SCHED_FIFO and SCHED_RR have a priority"
        return f"{at}/priority", f"set with {policy}", scheduler.priority, hint
    times = (("runtime", scheduler.runtime), ("deadline", scheduler.deadline), ("period", scheduler.period))
    for name, value in times:
        if value and policy != "SCHED_DEADLINE":
            return f"{at}/{name}", f"set with {policy}", value, "only SCHED_DEADLINE has one"
    return None


CONFIG_RULES: tuple[Callable[[ContainerConfig], Fault | None], ...] = (
    _namespace_types,
    _hostname,
    _mappings,
    _time_offsets,
    _sysctl,
    _mounts,
    _seccomp_errno,
)
PROCESS_RULES: tuple[Callable[[ProcessConfig], Fault | None], ...] = (
    _args,
    _groups,
    _console_size,
    _rlimits,
    _scheduler,
)
