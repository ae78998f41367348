# SPDX-License-Identifier: Apache-2.0
"""Decides who owns the cgroup of a container (config-linux.md, "Cgroup ownership"). Pure."""

from __future__ import annotations

from pyoci.kernel.mounts import RDONLY
from pyoci.kernel.namespaces import NEWCGROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.normal import ContainerConfig

NOBODY = -1


def owner(config: ContainerConfig) -> int:
    """Returns the uid on the host of the process's user, if it shall own the group, or NOBODY.

    It shall if the container sees only its own cgroups (a new cgroup namespace) and may write to them (a mount on
    /sys/fs/cgroup that is not read-only).
    """
    if not config.namespaces.new & NEWCGROUP:
        return NOBODY
    if not any(each.target == "/sys/fs/cgroup" and not each.attr[0] & RDONLY for each in config.mounts):
        return NOBODY
    uid = config.process.uid
    if "user" not in config.namespaces.types:
        return uid or NOBODY  # root owns it already
    for each in config.uid_mappings:
        if each["containerID"] <= uid < each["containerID"] + each["size"]:
            return each["hostID"] + uid - each["containerID"]
    return NOBODY
