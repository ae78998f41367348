# SPDX-License-Identifier: Apache-2.0
"""Device nodes and the usual links in /dev (runtime-spec, config-linux.md "Devices", "Default Devices")."""

from __future__ import annotations

import os

from pyoci.errors import SpecError
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Config, Device
    from pyoci.plan.mounts import Mounts

S_IFCHR, S_IFBLK, S_IFIFO = 0o020000, 0o060000, 0o010000
KINDS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}
DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)

PRESENT = ops.errnos(17)  # EEXIST: what the image has there is as good


def operations(config: Config, mounts: Mounts, by_bind: bool) -> list[ops.Op]:
    """The nodes and links; ``by_bind``: nodes cannot be made (a user namespace), so the host's are bound.

    Where /dev is a bind of some directory it is left as it is: what stands there is the caller's.
    """
    asked = (config.get("linux") or {}).get("devices") or []
    if _dev_is_bound(config):
        return []
    nodes = [_default(name, major, minor) for name, major, minor in DEFAULT]
    nodes += [_asked(device, f"/linux/devices/{index}") for index, device in enumerate(asked)]
    wanted = {node.path: node for node in nodes}  # what is asked for replaces a default
    links: list[ops.Op] = [ops.Symlink("", path, target, PRESENT) for path, target in LINKS if path not in wanted]
    if "/dev/ptmx" not in wanted:
        links.append(ops.Symlink("", "/dev/ptmx", "pts/ptmx", PRESENT))
    if not by_bind:
        return [*wanted.values(), *links]
    for node in wanted.values():
        mounts.bind(node.path, node.path, False, node.where)
    return links


def _dev_is_bound(config: Config) -> bool:
    for mount in config.get("mounts") or ():
        if mount["destination"].rstrip("/") == "/dev":
            options = mount.get("options") or ()
            return mount.get("type") == "bind" or "bind" in options or "rbind" in options
    return False


def _default(name: str, major: int, minor: int) -> ops.Mknod:
    return ops.Mknod("", f"/dev/{name}", S_IFCHR | 0o666, os.makedev(major, minor), 0, 0)


def _asked(device: Device, where: str) -> ops.Mknod:
    kind = device["type"]
    if kind not in KINDS:
        raise SpecError(f"{where}/type", "not a type of device", kind, "c, b, u or p")
    number = 0 if kind == "p" else os.makedev(device.get("major") or 0, device.get("minor") or 0)
    mode = device.get("fileMode")
    mode = 0o666 if mode is None else mode & 0o7777
    uid, gid = device.get("uid") or 0, device.get("gid") or 0
    return ops.Mknod(where, device["path"], KINDS[kind] | mode, number, uid, gid)
