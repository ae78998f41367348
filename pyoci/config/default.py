# SPDX-License-Identifier: Apache-2.0
"""The configuration that ``pyoci spec`` writes. It is that of ``runc spec`` (runc 1.5), so that it runs with both."""

from __future__ import annotations

import os

from pyoci import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Config, Linux, Mount, Process

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi", "/sys/devices/virtual/tpm"),
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# destination, type, source, options
MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)


def config(rootless: bool = False) -> Config:
    """Returns a configuration that passes every check, for a root file system in ``rootfs``.

    rootless: for the current user, who becomes root of a new user namespace and keeps the host's network. A cgroup
    namespace is added if only cgroup v2 is mounted.
    """
    linux: Linux = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in NAMESPACES],
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READONLY),
    }
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        linux["namespaces"].append({"type": "cgroup"})
    document: Config = {
        "ociVersion": SPEC_VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [_mount(*mount) for mount in MOUNTS],
        "linux": linux,
    }
    return _rootless(document) if rootless else document


def _process() -> Process:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": list(CAPABILITIES),
            "effective": list(CAPABILITIES),
            "permitted": list(CAPABILITIES),
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mount(destination: str, kind: str, source: str, options: str) -> Mount:
    mount: Mount = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split(" ")
    return mount


def _rootless(document: Config) -> Config:
    """Removes what only root may do: a sysfs without a network namespace, group 5 of devpts, limits.

    Returns the document.
    """
    linux = document["linux"]
    del linux["resources"]
    kept = [each for each in linux["namespaces"] if each["type"] != "network"]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    for index, mount in enumerate(document["mounts"]):
        if mount["destination"] == "/sys":
            document["mounts"][index] = _mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
        elif "options" in mount:
            mount["options"] = [each for each in mount["options"] if not each.startswith(("uid=", "gid="))]
    return document
