# SPDX-License-Identifier: Apache-2.0
"""Device nodes and the usual links in /dev (runtime-spec, config-linux.md "Devices", "Default Devices")."""

from __future__ import annotations

import os

from pyoci.kernel.devices import LINKS
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.normal import ContainerConfig
    from pyoci.plan.mounts import Mounts

PRESENT = ops.errnos(17)  # EEXIST: what the image has there is as good


def operations(config: ContainerConfig, mounts: Mounts, by_bind: bool) -> list[ops.Op]:
    """The nodes and links; ``by_bind``: nodes cannot be made (a user namespace), so the host's are bound.

    Where /dev is a bind of some directory it is left as it is: what stands there is the caller's.
    """
    if config.dev_is_bound:
        return []
    nodes = config.devices
    links: list[ops.Op] = [ops.Symlink("", path, target, PRESENT) for path, target in LINKS if path not in nodes]
    if by_bind:
        for node in nodes.values():
            mounts.bind(node.path, node.path, False, node.where)
        return links
    made: list[ops.Op] = [
        ops.Mknod(node.where, path, node.kind | node.mode, os.makedev(node.major, node.minor), node.uid, node.gid)
        for path, node in nodes.items()
    ]
    return made + links
