# SPDX-License-Identifier: Apache-2.0
"""What a document must hold beyond its schema: one small function a rule.

Each rule takes a document of the schema's shape and returns None, or a Fault: the path of the property, what is
wrong, its value, and what to do. The rules are pure: what needs a look at the host (whether a directory exists,
whether a bind mount's source is a procfs, whether a joined namespace is the runtime's own) is checked where it is
used.
"""

from __future__ import annotations

import posixpath

from pyoci.kernel.mounts import ON_PROC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Document = dict[str, Any]
    Fault = tuple[tuple[str | int, ...], str, Any, str]

MAPPINGS_MAX = 340  # lines of /proc/PID/uid_map, user_namespaces(7)
CONSOLE_MAX = 65535  # struct winsize has 16 bits, ioctl_tty(2)
ERRNO_MAX = 4095  # MAX_ERRNO: a larger SECCOMP_RET_DATA is cut to it, seccomp(2)

# Kernel parameters of the IPC namespace, ipc_namespaces(7).
_IPC_PARAMETERS = frozenset(
    "kernel/" + name for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)


def config(document: Document) -> Fault | None:
    """The first fault of a configuration; in the order of CONFIG_RULES, then of PROCESS_RULES."""
    for rule in CONFIG_RULES:
        fault = rule(document)
        if fault:
            return fault
    fault = process(document["process"])
    return fault and (("process", *fault[0]), *fault[1:])


def process(document: Document) -> Fault | None:
    """The first fault of a process alone."""
    for rule in PROCESS_RULES:
        fault = rule(document)
        if fault:
            return fault
    return None


def parameter_path(name: str) -> str:
    """The path below /proc/sys of a kernel parameter; "" if the name leads elsewhere.

    The first of "." and "/" in the name is what separates its parts, as in sysctl(8): net.ipv4.conf.eth0/1.mtu and
    net/ipv4/conf/eth0.1/mtu are the same.
    """
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        name = name.translate({ord("."): "/", ord("/"): "."})
    parts = name.split("/")
    return "" if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) else name


def parameter_namespace(path: str) -> str:
    """The type of namespace that a kernel parameter (a path below /proc/sys) belongs to; "" if it is the host's."""
    if path in _IPC_PARAMETERS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path in ("kernel/domainname", "kernel/hostname"):
        return "uts"
    return {"net": "network", "user": "user"}.get(path.partition("/")[0], "")


def destination(mount: Document) -> str:
    """Where a mount goes in the container: absolute, without "." and "..", symbolic links not resolved."""
    path: str = mount["destination"]
    return posixpath.normpath("/" + path.lstrip("/"))


def is_bind(mount: Document) -> bool:
    """Whether a mount is a bind mount: its options say so (config.md, "mounts"), or its type, as engines have it."""
    options = mount.get("options", ())
    return "bind" in options or "rbind" in options or mount.get("type") in ("bind", "rbind")


def _linux(document: Document) -> Document:
    linux: Document = document.get("linux", {})
    return linux


def _namespaces(document: Document) -> dict[str, str]:
    """Type and path ("" for a new one) of the namespaces that are not the runtime's."""
    return {each["type"]: each.get("path", "") for each in _linux(document).get("namespaces", ())}


def _has_process(document: Document) -> Fault | None:
    if "process" not in document:
        return ("process",), "missing", None, "a container needs a process to be created"
    return None


def _namespace_types(document: Document) -> Fault | None:
    seen = set()
    for index, each in enumerate(_linux(document).get("namespaces", ())):
        if each["type"] in seen:
            return ("linux", "namespaces", index, "type"), "listed twice", each["type"], "list each type once"
        seen.add(each["type"])
    return None


def _mount_namespace(document: Document) -> Fault | None:
    if "mount" not in _namespaces(document):
        hint = "without it root, mounts, maskedPaths and readonlyPaths would change the host"
        return ("linux", "namespaces"), "a namespace of type mount is missing", None, hint
    return None


def _hostname(document: Document) -> Fault | None:
    for name in ("hostname", "domainname"):
        value = document.get(name)
        if value and "uts" not in _namespaces(document):
            return (name,), "set without a namespace of type uts", value, "add one to linux.namespaces"
        if value and len(value.encode("utf-8", "surrogateescape")) > 64:
            return (name,), "too long", value, "allowed are 64 bytes"
    return None


def _user_namespace(document: Document) -> Fault | None:
    namespaces, linux = _namespaces(document), _linux(document)
    for name in ("uidMappings", "gidMappings"):
        if linux.get(name) and "user" not in namespaces:
            return ("linux", name), "set without a namespace of type user", None, "add one to linux.namespaces"
        if not linux.get(name) and namespaces.get("user") == "":
            return ("linux", name), "missing", None, "a new namespace of type user needs uidMappings and gidMappings"
    return None


def _mappings(document: Document) -> Fault | None:
    for name in ("uidMappings", "gidMappings"):
        mappings = _linux(document).get(name, ())
        if len(mappings) > MAPPINGS_MAX:
            return ("linux", name), f"has {len(mappings)} entries", None, f"the kernel takes {MAPPINGS_MAX}"
        for index, each in enumerate(mappings):
            for start in ("containerID", "hostID"):
                if each[start] + each["size"] > 0xFFFFFFFF:
                    hint = "the last id is at most 4294967294"
                    return ("linux", name, index, "size"), "reaches beyond the last id", each["size"], hint
                if _overlaps(each, mappings[:index], start):
                    hint = "the kernel takes each id once"
                    return ("linux", name, index, start), "overlaps with an earlier entry", each[start], hint
    return None


def _overlaps(mapping: Document, others: Iterable[Document], start: str) -> bool:
    first, end = mapping[start], mapping[start] + mapping["size"]
    return any(first < other[start] + other["size"] and other[start] < end for other in others)


def _time_offsets(document: Document) -> Fault | None:
    namespaces = _namespaces(document)
    if not _linux(document).get("timeOffsets"):
        return None
    if "time" not in namespaces:
        return ("linux", "timeOffsets"), "set without a namespace of type time", None, "add one to linux.namespaces"
    if namespaces["time"]:
        hint = "the offsets of a joined namespace are fixed"
        return ("linux", "timeOffsets"), "set with a time namespace that is joined", None, hint
    return None


def _sysctl(document: Document) -> Fault | None:
    namespaces = _namespaces(document)
    for name, value in _linux(document).get("sysctl", {}).items():
        at = ("linux", "sysctl", name)
        path = parameter_path(name)
        needed = parameter_namespace(path)
        if not needed:
            return at, "not a parameter of a namespace", value, "allowed are net, fs.mqueue, user and some of kernel"
        if needed not in namespaces:
            hint = f"it would change the host; add a namespace of type {needed}"
            return at, f"set without a namespace of type {needed}", value, hint
        if path == "kernel/hostname":
            return at, "not allowed", value, "set the property hostname"
    return None


def _proc_mounts(document: Document) -> Fault | None:
    for index, mount in enumerate(document.get("mounts", ())):
        path = destination(mount)
        at = ("mounts", index, "destination")
        if path == "/proc" and not is_bind(mount) and mount.get("type") != "proc":
            return at, "only a procfs may be mounted there", mount["destination"], "set the type proc"
        if path.startswith("/proc/") and path not in ON_PROC:
            return at, "nothing may be mounted inside /proc", mount["destination"], "use maskedPaths to hide a file"
    return None


def _cgroups_path(document: Document) -> Fault | None:
    path = _linux(document).get("cgroupsPath", "")
    if ".." in path.split("/"):
        return (
            ("linux", "cgroupsPath"),
            "leads out of the cgroup hierarchy",
            path,
            "leave out the parts '..'",
        )
    return None


def _seccomp_errno(document: Document) -> Fault | None:
    seccomp = _linux(document).get("seccomp")
    if not seccomp:
        return None
    at = ("linux", "seccomp")
    fault = _errno(seccomp, "defaultAction", "defaultErrnoRet")
    if fault:
        return (*at, *fault[0]), *fault[1:]
    for index, syscall in enumerate(seccomp.get("syscalls", ())):
        fault = _errno(syscall, "action", "errnoRet")
        if fault:
            return (*at, "syscalls", index, *fault[0]), *fault[1:]
    return None


def _errno(parent: Document, action: str, name: str) -> Fault | None:
    number = parent.get(name)
    if number is None or parent[action] == "SCMP_ACT_TRACE":
        return None
    if parent[action] != "SCMP_ACT_ERRNO":
        return (name,), f"set with {parent[action]}", number, "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have a number"
    if number > ERRNO_MAX:
        return (name,), "not an error number", number, f"allowed is an integer from 0 to {ERRNO_MAX}"
    return None


def _args(document: Document) -> Fault | None:
    if "args" not in document:
        return ("args",), "missing", None, "it is the program and its arguments"
    return None


def _console_size(document: Document) -> Fault | None:
    if not document.get("terminal"):
        return None  # "Runtimes MUST ignore consoleSize if terminal is false"
    for name, value in document.get("consoleSize", {}).items():
        if name in ("height", "width") and value > CONSOLE_MAX:
            return ("consoleSize", name), "too large", value, f"allowed is an integer from 0 to {CONSOLE_MAX}"
    return None


def _rlimits(document: Document) -> Fault | None:
    seen = set()
    for index, each in enumerate(document.get("rlimits", ())):
        if each["type"] in seen:
            return ("rlimits", index, "type"), "listed twice", each["type"], "list each type once"
        if each["soft"] > each["hard"]:
            return ("rlimits", index, "soft"), "above the hard limit", each["soft"], f"at most {each['hard']}"
        seen.add(each["type"])
    return None


def _scheduler(document: Document) -> Fault | None:
    scheduler = document.get("scheduler")
    if not scheduler:
        return None
    policy = scheduler["policy"]
    if scheduler.get("priority") and policy not in ("SCHED_FIFO", "SCHED_RR"):
        hint = "only SCHED_FIFO and SCHED_RR have a priority"
        return ("scheduler", "priority"), f"set with {policy}", scheduler["priority"], hint
    for name in ("runtime", "deadline", "period"):
        if scheduler.get(name) and policy != "SCHED_DEADLINE":
            return ("scheduler", name), f"set with {policy}", scheduler[name], "only SCHED_DEADLINE has one"
    return None


CONFIG_RULES: tuple[Callable[[Document], Fault | None], ...] = (
    _has_process,
    _namespace_types,
    _mount_namespace,
    _hostname,
    _user_namespace,
    _mappings,
    _time_offsets,
    _sysctl,
    _proc_mounts,
    _cgroups_path,
    _seccomp_errno,
)
PROCESS_RULES: tuple[Callable[[Document], Fault | None], ...] = (
    _args,
    _console_size,
    _rlimits,
    _scheduler,
)
