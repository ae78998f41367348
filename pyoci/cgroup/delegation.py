# SPDX-License-Identifier: Apache-2.0
"""To whom a container's cgroup is given (config-linux.md, "Cgroup ownership"). Pure."""

from __future__ import annotations

from pyoci.kernel.mounts import RDONLY
from pyoci.kernel.namespaces import NEWCGROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.normal import ContainerConfig

NOBODY = -1


def owner(config: ContainerConfig) -> int:
    """Returns the host's uid of the user that the process runs as, if the group is to be its own; else NOBODY.

    That is so where the container sees its own cgroups only (a new cgroup namespace) and may write them (a mount at
    /sys/fs/cgroup that is not read-only).
    """
    if not config.namespaces.new & NEWCGROUP:
        return NOBODY
    if not any(each.target == "/sys/fs/cgroup" and not each.attr[0] & RDONLY for each in config.mounts):
        return NOBODY
    uid = config.process.uid
    if "user" not in config.namespaces.types:
        return uid or NOBODY  # it is root's already
    for each in config.uid_mappings:
        if each["containerID"] <= uid < each["containerID"] + each["size"]:
            return each["hostID"] + uid - each["containerID"]
    return NOBODY
