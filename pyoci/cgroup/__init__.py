# SPDX-License-Identifier: Apache-2.0
"""Control groups, version 1 and 2, through their file systems.

    resolve(cgroupsPath, id) ──> path in the hierarchies
    manage(host(), path, "cgroupfs") ──> V1 or V2 ──> plan, precreate, limit, update, freeze, kill, delete
    from_state(saved) ──> the same object, for later verbs and after a crash

Each version is a module of its own, which is imported when it is needed.
"""

from __future__ import annotations

from pyoci.cgroup.base import Cgroup
from pyoci.cgroup.delegation import owner
from pyoci.cgroup.hierarchies import Host, Mount, host
from pyoci.cgroup.lookup import from_state, manage, resolve
from pyoci.cgroup.plan import CgroupPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup.oom import OomWatch

__all__ = ["Cgroup", "Host", "Mount", "CgroupPlan", "OomWatch", "from_state", "host", "manage", "owner", "resolve"]
