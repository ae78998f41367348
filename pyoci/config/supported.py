# SPDX-License-Identifier: Apache-2.0
"""What the specification has and this version does not do yet: one table, from path to words.

A property of the table is refused by name when it asks for something. Zero, false, an empty text and an empty
array ask for nothing (docker sends ``"blockIO": {"weight": 0}``). A property that leaves the table is built.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Found = tuple[tuple[str | int, ...], str, Any] | None

_PROCESS = (
    ("apparmorProfile", "AppArmor profiles are"),
    ("selinuxLabel", "SELinux labels are"),
    ("execCPUAffinity", "CPU affinity of exec is"),
)
_LINUX = (
    ("mountLabel", "SELinux labels of mounts are"),
    ("memoryPolicy", "NUMA memory policies are"),
)
# These ask for something even with an empty value: a group to join, a device to move.
_LINUX_PRESENT = (
    ("intelRdt", "Intel RDT is"),
    ("netDevices", "network devices to move are"),
)
_RESOURCES = (
    ("blockIO", "limits of block I/O are"),
    ("hugepageLimits", "limits of huge pages are"),
    ("network", "network classes and priorities are"),
    ("rdma", "limits of RDMA are"),
)
_SECCOMP = (
    ("listenerPath", "seccomp agents are"),
    ("listenerMetadata", "seccomp agents are"),
)
_MOUNT_OPTIONS = {
    "idmap": "idmapped mounts are",
    "ridmap": "idmapped mounts are",
    "copy-symlink": "the mount option copy-symlink is",
    "src-nofollow": "the mount option src-nofollow is",
    "dest-nofollow": "the mount option dest-nofollow is",
}


def config(document: dict[str, Any]) -> Found:
    """The first property of a configuration (of the schema's shape) that is not built, and words that name it."""
    found = process(document.get("process", {}), ("process",)) or _mounts(document.get("mounts", ()))
    linux = document.get("linux")
    if found or not linux:
        return found
    return (
        _asked(linux, _LINUX, ("linux",))
        or _present(linux)
        or _asked(linux.get("resources", {}), _RESOURCES, ("linux", "resources"))
        or _asked(linux.get("personality", {}), (("flags", "flags of a personality are"),), ("linux", "personality"))
        or _seccomp(linux.get("seccomp"))
    )


def process(document: dict[str, Any], at: tuple[str, ...] = ()) -> Found:
    """Like ``config``, for a process that is found at a path of its document."""
    return _asked(document, _PROCESS, at)


def asks_for_nothing(value: Any) -> bool:
    """Whether a value is 0, false, empty, or an object with only such values."""
    if isinstance(value, dict):
        return not any(value.values())
    return not value


def _asked(parent: dict[str, Any], table: tuple[tuple[str, str], ...], at: tuple[str, ...]) -> Found:
    for name, words in table:
        if name in parent and not asks_for_nothing(parent[name]):
            return (*at, name), words, parent[name]
    return None


def _present(linux: dict[str, Any]) -> Found:
    for name, words in _LINUX_PRESENT:
        if name in linux and (linux[name] or name == "intelRdt"):
            return ("linux", name), words, linux[name]
    return None


def _mounts(mounts: list[dict[str, Any]]) -> Found:
    for index, mount in enumerate(mounts):
        for name in ("uidMappings", "gidMappings"):
            if mount.get(name):
                return ("mounts", index, name), "idmapped mounts are", mount[name]
        for place, option in enumerate(mount.get("options", ())):
            # "idmap=..." is how crun's own mappings are given
            plain = option.partition("=")[0]
            if plain in _MOUNT_OPTIONS:
                return ("mounts", index, "options", place), _MOUNT_OPTIONS[plain], option
    return None


def _seccomp(seccomp: dict[str, Any] | None) -> Found:
    if not seccomp:
        return None
    at = ("linux", "seccomp")
    found = _asked(seccomp, _SECCOMP, at)
    if found:
        return found
    notify = "SCMP_ACT_NOTIFY"
    words = "notifications to a seccomp agent are"
    if seccomp["defaultAction"] == notify:
        return (*at, "defaultAction"), words, notify
    for index, syscall in enumerate(seccomp.get("syscalls", ())):
        if syscall["action"] == notify:
            return (*at, "syscalls", index, "action"), words, notify
    return None
