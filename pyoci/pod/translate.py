# SPDX-License-Identifier: Apache-2.0
"""Turns a pod into one config.json for each container, as an engine and a kubelet would produce together.

Pure functions: Facts has the facts of the host, and Places the directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyoci.pod import capabilities
from pyoci.pod.model import SANDBOX, Container, Pod, Resources, Security

if TYPE_CHECKING:
    from pyoci.config import documents

SHARED = ("network", "ipc", "uts")
"""The namespaces that every peer has in common with the sandbox; ``pid`` comes with shareProcessNamespace."""

FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
"""config.json's word for a namespace → its file in /proc/PID/ns."""

_VERSION = "1.0.2"  # of the runtime specification; nothing here needs a later one
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY = 65535  # the user of the sandbox, as in Kubernetes' own pause image
_PERIOD = 100_000  # µs: the default of cpu.cfs_period_us, and kubelet's
_QUOTA_MIN = 1000  # µs: the kernel accepts no smaller quota
_SHARES_MIN, _SHARES_MAX = 2, 262144
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Facts:
    """capabilities: names of those that this process may grant; cgroup_namespace: whether containers get their own."""

    capabilities: tuple[str, ...]
    cgroup_namespace: bool


@dataclass(frozen=True, slots=True)
class Places:
    """Paths on the host: volumes by name, which of them are in the pod's directory, the shared /dev/shm, and the pod's
    /etc files by name."""

    volumes: dict[str, str]
    own: frozenset[str]
    shm: str
    etc: dict[str, str]


def cgroup_parent(pod_name: str) -> str:
    """Returns the control group above those of a pod's containers."""
    return f"/pyoci-pod-{pod_name}"


def sandbox(pod: Pod, facts: Facts, places: Places) -> documents.Config:
    """Returns the config of the sandbox: new namespaces, pause, no capabilities, a read-only root.

    Its root file system (``rootfs`` of the bundle) has ``/pause`` and the mount points.
    """
    nobody = Security(_NOBODY, _NOBODY, (), (), ("ALL",), readonly_root=True, no_new_privileges=True)
    namespaces: list[documents.Namespace] = [{"type": kind} for kind in (*SHARED, "pid", "mount")]
    return {
        "ociVersion": _VERSION,
        "annotations": _annotations(pod, SANDBOX),
        "process": _process(("/pause",), [f"PATH={_PATH}"], "/", nobody, facts),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": pod.hostname,
        "mounts": _mounts(places.shm),
        "linux": _linux(pod, SANDBOX, namespaces, Resources(), facts),
    }


def peer(pod: Pod, container: Container, sandbox_pid: int, facts: Facts, places: Places) -> documents.Config:
    """Returns the config of a container that joins the sandbox whose init has the PID ``sandbox_pid`` on the host."""
    joined = (*SHARED, "pid") if pod.share_pid else SHARED
    namespaces: list[documents.Namespace] = [
        {"type": kind, "path": f"/proc/{sandbox_pid}/ns/{FILES[kind]}"} for kind in joined
    ]
    namespaces += [{"type": kind} for kind in ("pid", "mount") if kind not in joined]
    env = environment(pod, container)
    pairs = [f"{key}={value}" for key, value in env.items()]
    return {
        "ociVersion": _VERSION,
        "annotations": _annotations(pod, container.name),
        "process": _process(arguments(container, env), pairs, container.cwd, container.security, facts),
        "root": {"path": "rootfs", "readonly": container.security.readonly_root},
        "mounts": _with_volumes(_mounts(places.shm), container, places),
        "linux": _linux(pod, container.name, namespaces, container.resources, facts),
    }


def container_id(pod_name: str, name: str) -> str:
    """Returns the ID of a pod's container. A container's name has no dot, so no two pods can claim the same ID."""
    return f"{pod_name}.{name}"


def environment(pod: Pod, container: Container) -> dict[str, str]:
    """Returns the variables of a container, with ``$(NAME)`` of earlier ones replaced, and default PATH and
    HOSTNAME."""
    declared: dict[str, str] = {}
    for name, value in container.env:
        declared[name] = expand(value, declared)
    return {"PATH": _PATH, "HOSTNAME": pod.hostname} | declared


def arguments(container: Container, env: dict[str, str]) -> tuple[str, ...]:
    """Returns command followed by args, with ``$(NAME)`` of the manifest's variables replaced. There is no image
    configuration whose entry point ``args`` alone could extend."""
    declared = {name: env[name] for name, _ in container.env}
    return tuple(expand(word, declared) for word in container.command + container.args)


def expand(text: str, env: dict[str, str]) -> str:
    """Replaces ``$(NAME)`` by the value of the variable. An unknown one stays, and ``$$`` becomes ``$``.

    The rules are those of the Kubernetes API (Container.command).
    """
    result = []
    rest = text
    while True:
        before, dollar, rest = rest.partition("$")
        result.append(before)
        if not dollar:
            return "".join(result)
        if rest.startswith("$"):
            result.append("$")
            rest = rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, rest = rest[1:].partition(")")
            result.append(env.get(name, f"$({name})"))
        else:
            result.append("$")


def resources(wanted: Resources) -> documents.Resources:
    """Returns linux.resources for limits and requests, computed as in kubelet, with the device rules."""
    result: documents.Resources = {"devices": _devices()}
    if wanted.cpu_request is not None or wanted.cpu_limit is not None:
        cpu = result["cpu"] = {}
        if wanted.cpu_request is not None:
            cpu["shares"] = min(max(wanted.cpu_request * 1024 // 1000, _SHARES_MIN), _SHARES_MAX)
        if wanted.cpu_limit is not None:
            cpu["quota"] = max(wanted.cpu_limit * _PERIOD // 1000, _QUOTA_MIN)
            cpu["period"] = _PERIOD
    if wanted.memory_limit is not None:
        result["memory"] = {"limit": wanted.memory_limit}
    return result


def _annotations(pod: Pod, name: str) -> dict[str, str]:
    return pod.annotations | {"org.pyoci.pod.name": pod.name, "org.pyoci.pod.container": name}


def _linux(
    pod: Pod, name: str, namespaces: list[documents.Namespace], wanted: Resources, facts: Facts
) -> documents.Linux:
    if facts.cgroup_namespace:
        namespaces = [*namespaces, {"type": "cgroup"}]
    return {
        "namespaces": namespaces,
        "cgroupsPath": f"{cgroup_parent(pod.name)}/{name}",
        "resources": resources(wanted),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READONLY),
    }


def _devices() -> list[documents.DeviceRule]:
    """Returns rules for only the default devices (config-linux.md, "Default Devices")."""
    rules: list[documents.DeviceRule] = [{"allow": False, "access": "rwm"}]
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)):
        rules.append({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    rules.append({"allow": True, "type": "c", "major": 136, "access": "rwm"})  # the terminals of /dev/pts
    return rules


def _process(argv: tuple[str, ...], env: list[str], cwd: str, security: Security, facts: Facts) -> documents.Process:
    granted = capabilities.granted(security.add, security.drop, facts.capabilities)
    user: documents.User = {"uid": security.user, "gid": security.group}
    if security.groups:
        user["additionalGids"] = list(security.groups)
    return {
        "terminal": False,
        "user": user,
        "args": list(argv),
        "env": env,
        "cwd": cwd,
        "capabilities": {"bounding": granted, "effective": granted, "permitted": granted},
        "noNewPrivileges": security.no_new_privileges,
    }


def _mounts(shm: str) -> list[documents.Mount]:
    closed = ["nosuid", "noexec", "nodev"]
    cgroup = [*closed, "relatime", "ro"]
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        _mount("/proc", "proc", "proc", closed),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", terminals),
        _mount("/dev/mqueue", "mqueue", "mqueue", closed),
        _mount("/dev/shm", "bind", shm, ["rbind", "rprivate", "rw", *closed]),
        _mount("/sys", "sysfs", "sysfs", [*closed, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup),
    ]


def _with_volumes(mounts: list[documents.Mount], container: Container, places: Places) -> list[documents.Mount]:
    """Adds /etc files and volumes. A volume replaces a default mount with the same path."""
    taken = {mount.path for mount in container.mounts}
    mounts = [mount for mount in mounts if mount["destination"] not in taken]
    access = "ro" if container.security.readonly_root else "rw"
    for name, source in places.etc.items():
        if not taken & {f"/etc/{name}", "/etc"}:
            mounts.append(_mount(f"/etc/{name}", "bind", source, ["rbind", "rprivate", access]))
    # Parents are mounted before what is below them, in any order of the manifest.
    for mount in sorted(container.mounts, key=lambda mount: mount.path.count("/")):
        options = ["rbind", f"r{mount.propagation}", "ro" if mount.readonly else "rw"]
        if mount.volume in places.own:
            options.append("exec")  # the pod's directory is in /run, which is often mounted noexec
        mounts.append(_mount(mount.path, "bind", places.volumes[mount.volume], options))
    return mounts


def _mount(destination: str, kind: str, source: str, options: list[str]) -> documents.Mount:
    return {"destination": destination, "type": kind, "source": source, "options": options}
