# SPDX-License-Identifier: Apache-2.0
"""What is supported of the specification, and what is not: one table.

The refusal of documents (below), the verb ``features`` and the list "Limits" of README.md follow from TABLE; a test
compares the last. When a property becomes supported, only its row changes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Path = tuple[str | int, ...]
    Found = tuple[Path, "Support", Any]
    Tree = dict[str, "Support | Tree"]


class Support:
    """What happens to a property.

    where: the file in pyoci/ to read first, if it is supported; subject: what it is, in the plural, if it is refused;
    reason: why it has no effect, if it is ignored; present: whether it is refused even if its value asks for nothing.
    """

    __slots__ = ("present", "reason", "where", "subject")

    def __init__(self, where: str = "", subject: str = "", reason: str = "", present: bool = False) -> None:
        self.where = where
        self.subject = subject
        self.reason = reason
        self.present = present


def built(where: str) -> Support:
    """Returns the row of a supported property. where: the file in pyoci/ to read first."""
    return Support(where=where)


def refused(subject: str, present: bool = False) -> Support:
    """Returns the row of an unsupported property.

    It is accepted only if its value asks for nothing: zero, false, an empty text or array (docker sends ``"blockIO":
    {"weight": 0}``). With ``present`` it is always refused.
    """
    return Support(subject=subject, present=present)


def ignored(reason: str) -> Support:
    """Returns the row of a property that is accepted without effect, as the specification allows."""
    return Support(reason=reason)


_EACH = "*"  # in the path of a row: each item of an array, each name of a map
_NO_AGENT = "only SCMP_ACT_NOTIFY has a use for it"
_NOTIFY = "notifications to a seccomp agent"
_SYMLINKS = "mount options for symbolic links"

# A row is a JSON pointer, with * for each item or each name of a map. It applies to everything below it that has no row
# of its own. With =VALUE it applies only to that value. A row that begins with -- is a flag.
TABLE: dict[str, Support] = {
    "/ociVersion": ignored("checked; every version 1.x is read in the same way"),
    "/root/path": built("container/gather.py"),
    "/root/readonly": built("plan/order.py"),
    "/process/terminal": built("plan/process.py"),
    "/process/consoleSize": built("config/process.py"),
    "/process/user": built("plan/process.py"),
    "/process/args": built("plan/process.py"),
    "/process/env": built("plan/process.py"),
    "/process/cwd": built("plan/process.py"),
    "/process/capabilities": built("plan/process.py"),
    "/process/rlimits": built("plan/process.py"),
    "/process/noNewPrivileges": built("plan/process.py"),
    "/process/oomScoreAdj": built("container/launch.py"),
    "/process/scheduler": built("plan/process.py"),
    "/process/ioPriority": built("plan/process.py"),
    "/process/apparmorProfile": refused("AppArmor profiles"),
    "/process/selinuxLabel": refused("SELinux labels"),
    "/process/execCPUAffinity": refused("CPU affinities of exec"),
    "/hostname": built("plan/order.py"),
    "/domainname": built("plan/order.py"),
    "/mounts/*/destination": built("config/mounts.py"),
    "/mounts/*/type": built("config/mounts.py"),
    "/mounts/*/source": built("plan/mounts.py"),
    "/mounts/*/options": built("config/mounts.py"),
    "/mounts/*/options/*=idmap": refused("idmapped mounts"),
    "/mounts/*/options/*=ridmap": refused("idmapped mounts"),
    "/mounts/*/options/*=copy-symlink": refused(_SYMLINKS),
    "/mounts/*/options/*=src-nofollow": refused(_SYMLINKS),
    "/mounts/*/options/*=dest-nofollow": refused(_SYMLINKS),
    "/mounts/*/uidMappings": refused("idmapped mounts"),
    "/mounts/*/gidMappings": refused("idmapped mounts"),
    "/hooks/prestart": built("container/create.py"),
    "/hooks/createRuntime": built("container/create.py"),
    "/hooks/createContainer": built("plan/order.py"),
    "/hooks/startContainer": built("plan/order.py"),
    "/hooks/poststart": built("container/start.py"),
    "/hooks/poststop": built("container/delete.py"),
    "/annotations": built("container/intent.py"),
    "/linux/namespaces": built("plan/namespaces.py"),
    "/linux/uidMappings": built("container/intent.py"),
    "/linux/gidMappings": built("container/intent.py"),
    "/linux/timeOffsets": built("plan/namespaces.py"),
    "/linux/devices": built("plan/devices.py"),
    "/linux/netDevices": refused("network devices to move"),
    "/linux/cgroupsPath": built("cgroup/lookup.py"),
    "/linux/resources/devices": built("cgroup/devices.py"),
    "/linux/resources/memory": built("cgroup/resources.py"),
    "/linux/resources/memory/kernel": ignored("no effect since Linux 5.16"),
    "/linux/resources/memory/kernelTCP": ignored("no effect since Linux 5.16"),
    "/linux/resources/memory/useHierarchy": ignored("always set since Linux 5.11"),
    "/linux/resources/cpu": built("cgroup/resources.py"),
    "/linux/resources/pids": built("cgroup/resources.py"),
    "/linux/resources/unified": built("cgroup/resources.py"),
    "/linux/resources/blockIO": refused("limits of block I/O"),
    "/linux/resources/hugepageLimits": built("cgroup/resources.py"),
    "/linux/resources/network": refused("network classes and priorities"),
    "/linux/resources/rdma": refused("limits of RDMA"),
    "/linux/rootfsPropagation": built("plan/order.py"),
    "/linux/seccomp": built("seccomp/profile.py"),
    "/linux/seccomp/flags": built("seccomp/__init__.py"),
    "/linux/seccomp/flags/*=SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": ignored(_NO_AGENT),
    "/linux/seccomp/defaultAction=SCMP_ACT_NOTIFY": refused(_NOTIFY),
    "/linux/seccomp/syscalls/*/action=SCMP_ACT_NOTIFY": refused(_NOTIFY),
    "/linux/seccomp/listenerPath": ignored(_NO_AGENT),
    "/linux/seccomp/listenerMetadata": ignored(_NO_AGENT),
    "/linux/sysctl": built("plan/order.py"),
    "/linux/maskedPaths": built("plan/order.py"),
    "/linux/readonlyPaths": built("config/normal.py"),
    "/linux/mountLabel": refused("SELinux labels of mounts"),
    "/linux/intelRdt": refused("settings of Intel RDT", present=True),
    "/linux/memoryPolicy": refused("NUMA memory policies"),
    "/linux/personality": built("plan/order.py"),
    "/linux/personality/flags": refused("flags of a personality"),
    "--systemd-cgroup": refused("cgroups that systemd manages"),
}


def is_built(row: str) -> bool:
    """Returns whether the property of a row is supported. Raises KeyError if there is no such row."""
    return bool(TABLE[row].where)


def values(row: str) -> list[str]:
    """Returns the values that are not built at the place of a row: ``/mounts/*/options/*``."""
    return [
        key.removeprefix(f"{row}=") for key, support in TABLE.items() if not support.where and key.startswith(f"{row}=")
    ]


def config(document: Mapping[str, Any]) -> Found | None:
    """Returns the first value in a configuration that is refused: its path, its row, and the value; None if there is
    none. document: has passed the checks of the schema."""
    return _first(document, _REFUSED)


def process(document: Mapping[str, Any]) -> Found | None:
    """Like ``config``, for a process alone."""
    return _first(document, _REFUSED_OF_PROCESS)


def asks_for_nothing(value: Any) -> bool:
    """Returns whether a value is 0, false, empty, or an object with only such values.

    A map with a name in it asks for something.
    """
    if isinstance(value, dict):
        return not any(item or type(item) is dict for item in value.values())
    return not value


def _first(value: Any, tree: Tree) -> Found | None:
    """Searches a value for what a tree refuses."""
    for name, below in tree.items():
        if name == _EACH:
            for index, item in enumerate(value):
                found = _at(index, item, below)
                if found:
                    return found
        elif name in value:
            found = _at(name, value[name], below)
            if found:
                return found
    return None


def _at(name: str | int, value: Any, below: Support | Tree) -> Found | None:
    if isinstance(below, Support):
        return ((name,), below, value) if below.present or not asks_for_nothing(value) else None
    if type(value) is str:
        support = below.get(value.partition("=")[0])  # "idmap=..." is how crun's own mappings are given
        return ((name,), support, value) if isinstance(support, Support) else None
    found = _first(value, below)
    return found and ((name, *found[0]), *found[1:])


def _refused() -> Tree:
    """Returns the refused rows as a tree of their paths, so that a document is searched once, and only where needed.

    The values of a text are the last branches of such a path.
    """
    tree: Tree = {}
    for row, support in TABLE.items():
        if not support.subject or row[0] != "/":
            continue
        path, equals, value = row.partition("=")
        *parts, last = path.split("/")[1:] + ([value] if equals else [])
        below = tree
        for part in parts:
            below = _inner(below, part)
        below[last] = support
    return tree


def _inner(tree: Tree, name: str) -> Tree:
    below = tree.setdefault(name, {})
    assert isinstance(below, dict), f"{name} is refused as a whole already"
    return below


_REFUSED = _refused()
_REFUSED_OF_PROCESS = _inner(_REFUSED, "process")
