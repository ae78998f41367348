# SPDX-License-Identifier: Apache-2.0
"""The configuration of a container, normalised: each fact once, with its default, decided only here.

The document has passed the checks of the schema. rules.py then checks the result, and plan/, cgroup/ and container/
read only that, never the document. Nothing here depends on the host.
"""

from __future__ import annotations

from pyoci.config.mounts import BIND, REMOUNT, MountConfig, clean
from pyoci.config.process import ProcessConfig
from pyoci.errors import SpecError, token
from pyoci.kernel import devices, parameters
from pyoci.kernel.mounts import PROPAGATION
from pyoci.kernel.namespaces import TYPES
from pyoci.kernel.process import PERSONALITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pyoci.config.documents import Config, Device, Hook, Hooks, Linux, Namespace, Resources

    Placed = tuple[str, str]  # a path in the container, and the JSON pointer of the property that names it

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NO_LINUX: Linux = {}
_NO_HOOKS: Hooks = {}
_NO_RESOURCES: Resources = {}
_DEFAULT_PROPAGATION = "rslave"  # mounts of the host appear inside, but not the reverse


class ContainerConfig:
    """A container.

    document: what it was made from; name: the document's name in messages; root: as written; hostname, domainname: ""
    for none; dev_is_bound: whether /dev is a bind mount, so that its contents belong to the caller; devices: the nodes
    to create, including the default ones; hooks: only kinds that have hooks; propagation: MS_* of the root, and whether
    it is recursive; personality: the value for personality(2), or None.
    """

    __slots__ = (
        "annotations",
        "cgroups_path",
        "dev_is_bound",
        "devices",
        "document",
        "domainname",
        "gid_mappings",
        "hooks",
        "hostname",
        "masked",
        "mounts",
        "name",
        "namespaces",
        "personality",
        "process",
        "propagation",
        "readonly",
        "resources",
        "root",
        "root_readonly",
        "seccomp",
        "sysctl",
        "time_offsets",
        "uid_mappings",
    )

    def __init__(self, document: Config, name: str) -> None:
        if "process" not in document:
            raise SpecError("/process", "missing", None, "a container needs a process to be created", name)
        self.document = document
        self.name = name
        self.process = ProcessConfig(document["process"], name, "/process")
        self.root = document["root"]["path"]
        self.root_readonly = document["root"].get("readonly", False)
        self.hostname = document.get("hostname", "")
        self.domainname = document.get("domainname", "")
        self.annotations = document.get("annotations", {})
        self.hooks = _hooks(document.get("hooks", _NO_HOOKS))
        self.mounts = [MountConfig(mount, f"/mounts/{i}") for i, mount in enumerate(document.get("mounts", ()))]
        self.dev_is_bound = _dev_is_bound(self.mounts)
        linux = document.get("linux", _NO_LINUX)
        self.namespaces = Namespaces(linux.get("namespaces", ()))
        self.uid_mappings = linux.get("uidMappings", [])
        self.gid_mappings = linux.get("gidMappings", [])
        self.time_offsets = linux.get("timeOffsets", {})
        self.devices = {} if self.dev_is_bound else _devices(linux.get("devices", ()))
        self.cgroups_path = linux.get("cgroupsPath", "")
        self.resources = linux.get("resources", _NO_RESOURCES)
        self.seccomp = linux.get("seccomp")
        self.sysctl = [Parameter(key, value) for key, value in linux.get("sysctl", {}).items()]
        self.masked = _paths(linux.get("maskedPaths", ()), "/linux/maskedPaths")
        self.readonly = _paths(linux.get("readonlyPaths", ()), "/linux/readonlyPaths")
        self.propagation = _propagation(linux.get("rootfsPropagation", ""))
        personality = linux.get("personality")
        self.personality = PERSONALITIES[personality["domain"]] if personality else None


class Namespaces:
    """The namespaces of a container.

    new: CLONE_NEW* flags of those to create; joined: those to enter, user first and mount last; types: the types of
    all, in the document's order.
    """

    __slots__ = ("joined", "new", "types")

    def __init__(self, entries: Iterable[Namespace]) -> None:
        self.new = 0
        self.types: list[str] = []
        found: dict[str, Joined] = {}
        for index, entry in enumerate(entries):
            kind, path = entry["type"], entry.get("path", "")
            self.types.append(kind)
            if path:
                found[kind] = Joined(kind, path, f"/linux/namespaces/{index}")
            else:
                self.new |= TYPES[kind][0]
        self.joined = [found[kind] for kind in TYPES if kind in found] if found else []

    def joins(self, flag: int) -> bool:
        """Returns whether the container joins a namespace of this CLONE_NEW* flag."""
        return any(entry.flag == flag for entry in self.joined)

    def private(self, flag: int) -> bool:
        """Returns whether the container has a namespace of this kind other than the host's, according to the config."""
        return bool(self.new & flag) or self.joins(flag)


class Joined:
    """A namespace to enter: its type, its CLONE_NEW* flag, and its path."""

    __slots__ = ("flag", "path", "type", "where")

    def __init__(self, kind: str, path: str, where: str) -> None:
        self.type = kind
        self.flag = TYPES[kind][0]
        self.path = path
        self.where = where


class DeviceNode:
    """A node to create in the container. kind: S_IF*; mode: permissions; major, minor: 0 for a FIFO."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "uid", "where")

    def __init__(self, path: str, kind: int, major: int, minor: int) -> None:
        self.path = path
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = 0o666
        self.uid = 0
        self.gid = 0
        self.where = ""


class Parameter:
    """A kernel parameter to set. path: below /proc/sys; "" if the name leads elsewhere."""

    __slots__ = ("path", "value", "where")

    def __init__(self, name: str, value: str) -> None:
        self.where = f"/linux/sysctl/{token(name)}"
        self.path = parameters.path(name)
        self.value = value


def _hooks(hooks: Hooks) -> dict[str, list[Hook]]:
    given: Mapping[str, Any] = hooks
    return {kind: given[kind] for kind in HOOKS if given.get(kind)} if given else {}


def _dev_is_bound(mounts: list[MountConfig]) -> bool:
    """Returns whether the last mount on /dev, which covers the others, is a bind mount."""
    bound = False
    for mount in mounts:
        if mount.target == "/dev" and mount.kind != REMOUNT:
            bound = mount.kind == BIND
    return bound


_DEFAULT_DEVICES = {
    f"/dev/{name}": DeviceNode(f"/dev/{name}", devices.S_IFCHR, major, minor) for name, major, minor in devices.DEFAULT
}


def _devices(asked: Iterable[Device]) -> dict[str, DeviceNode]:
    """Returns the nodes by path. An entry replaces the default node of its path, and an earlier entry."""
    nodes = {**_DEFAULT_DEVICES}
    for index, device in enumerate(asked):
        kind = devices.KINDS[device["type"]]
        path = clean(device["path"])
        numbered = kind != devices.S_IFIFO
        major, minor = (device["major"], device["minor"]) if numbered else (0, 0)
        node = nodes[path] = DeviceNode(path, kind, major, minor)
        node.mode = device.get("fileMode", 0o666) & 0o7777
        node.uid = device.get("uid", 0)
        node.gid = device.get("gid", 0)
        node.where = f"/linux/devices/{index}"
    return nodes


def _paths(paths: Iterable[str], where: str) -> list[Placed]:
    """Returns each path once. A relative path starts at the root, as in runc and crun."""
    found: dict[str, str] = {}
    for index, path in enumerate(paths):
        found.setdefault(clean(path), f"{where}/{index}")
    return list(found.items())


def _propagation(wanted: str) -> tuple[int, bool]:
    wanted = wanted or _DEFAULT_PROPAGATION
    recursive = wanted[:1] == "r"
    return PROPAGATION[wanted[1:] if recursive else wanted], recursive
