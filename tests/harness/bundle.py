# SPDX-License-Identifier: Apache-2.0
"""Makes bundles in a few milliseconds: a root file system from busybox-static, and a config.json."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

BUSYBOX = "/bin/busybox"
APPLETS = """
[ awk base64 basename cat chmod chown chgrp cmp cp cut date dd df dirname echo env expr false find grep head hexdump
hostname httpd id ip kill ln ls mkdir mkfifo mknod mktemp mount mv nc nproc od ping printf ps pwd readlink realpath rm
rmdir sed seq setsid sh sleep sort stat stty sync tail tee test timeout touch tr true tty umount uname uniq unshare
usleep wc wget who whoami xargs yes
""".split()

DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def make_rootfs(target: Path, busybox: Path = Path(BUSYBOX)) -> None:
    """A root file system of busybox, whose applets are symlinks; `busybox` is hard-linked if it can be."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "work"):
        (target / name).mkdir(parents=True, exist_ok=True)
    (target / "tmp").chmod(0o1777)
    try:
        os.link(busybox, target / "bin/busybox")
    except OSError:
        shutil.copy2(busybox, target / "bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", target / "bin" / applet)
    (target / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/work:/bin/sh\n")
    (target / "etc/group").write_text("root:x:0:\nworker:x:1000:\nextra:x:2000:worker\n")


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    """Returns a mount of config.json."""
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    """Returns a bind mount of config.json; `rbind` instead of `bind` may be among the options."""
    kinds = () if "rbind" in options else ("bind",)
    return mount(destination, "bind", str(source), *kinds, *options)


def default_mounts() -> list[dict[str, Any]]:
    """Returns the mounts that engines ask for in every container."""
    return [
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def default_config(cgroups_path: str) -> dict[str, Any]:
    """Returns a config.json like the one that engines write, with `sleep` as its process."""
    caps = {kind: list(DEFAULT_CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sleep", "100"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": caps,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "runc",
        "mounts": default_mounts(),
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


class Bundle:
    """A directory with a root file system and a config.json, which `save` writes from `config`."""

    def __init__(self, directory: Path, name: str, busybox: Path) -> None:
        self.path = directory
        self.name = name
        self.rootfs = directory / "rootfs"
        self.rootfs.mkdir(parents=True)
        make_rootfs(self.rootfs, busybox)
        self.config = default_config(f"/{name}")

    @property
    def process(self) -> dict[str, Any]:
        """The `process` object of the config."""
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        """The `linux` object of the config."""
        linux: dict[str, Any] = self.config["linux"]
        return linux

    @property
    def mounts(self) -> list[dict[str, Any]]:
        """The `mounts` of the config."""
        mounts: list[dict[str, Any]] = self.config["mounts"]
        return mounts

    def args(self, *argv: str) -> Bundle:
        """Sets the arguments of the process."""
        self.process["args"] = list(argv)
        return self

    def sh(self, script: str) -> Bundle:
        """Makes the process a shell that runs `script`."""
        return self.args("/bin/sh", "-c", script)

    def capabilities(self, *names: str) -> Bundle:
        """Sets the bounding, effective and permitted capabilities of the process; the other sets are empty."""
        self.process["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}
        return self

    def namespace(self, kind: str, path: str | None = None) -> Bundle:
        """Adds a namespace of this type, new or joined by path."""
        self.drop_namespace(kind)
        self.linux["namespaces"].append({"type": kind, **({"path": path} if path else {})})
        return self

    def drop_namespace(self, kind: str) -> Bundle:
        """Removes the namespace of this type, so that the process has the caller's."""
        self.linux["namespaces"] = [ns for ns in self.linux["namespaces"] if ns["type"] != kind]
        return self

    def map_users(self, host_id: int = 100000, size: int = 65536) -> Bundle:
        """Adds a user namespace in which 0 is `host_id`, and gives it the root file system."""
        self.namespace("user")
        for key in ("uidMappings", "gidMappings"):
            self.linux[key] = [{"containerID": 0, "hostID": host_id, "size": size}]
        for directory, _, files in os.walk(self.rootfs):
            os.chown(directory, host_id, host_id)
            for name in files:
                path = os.path.join(directory, name)
                if os.lstat(path).st_nlink == 1:  # busybox is shared with the other bundles
                    os.lchown(path, host_id, host_id)
        return self

    def hook(self, stage: str, script: str, **more: Any) -> Bundle:
        """Adds a hook that runs `script` in a shell: on the host, or for startContainer in the container."""
        entry = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin:/usr/sbin"], **more}
        self.config.setdefault("hooks", {}).setdefault(stage, []).append(entry)
        return self

    def save(self) -> Bundle:
        """Writes config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))
        return self
