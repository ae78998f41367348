# SPDX-License-Identifier: Apache-2.0
"""Device nodes and the default symlinks in /dev (runtime-spec, config-linux.md "Devices", "Default Devices")."""

from __future__ import annotations

import os

from pyoci.kernel.devices import LINKS, S_IFIFO
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.normal import ContainerConfig
    from pyoci.plan.mounts import Mounts

PRESENT = ops.errnos(17)  # EEXIST: the image's own symlink serves too


def operations(config: ContainerConfig, mounts: Mounts, by_bind: bool) -> list[ops.Op]:
    """Returns the operations for nodes and symlinks. A bind-mounted /dev is left alone, because it belongs to the
    caller.

    by_bind: nodes cannot be created (in a user namespace), so the host's are bound, with their mode and owner.
    """
    if config.dev_is_bound:
        return []
    nodes = config.devices
    links: list[ops.Op] = [ops.Symlink("", path, target, PRESENT) for path, target in LINKS if path not in nodes]
    made: list[ops.Op] = []
    for path, node in nodes.items():
        if by_bind and node.kind != S_IFIFO:
            mounts.bind_node(node)
        else:
            device = os.makedev(node.major, node.minor)
            made.append(ops.Mknod(node.where, path, node.kind | node.mode, device, node.uid, node.gid))
    return made + links
