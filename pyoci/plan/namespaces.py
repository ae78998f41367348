# SPDX-License-Identifier: Apache-2.0
"""Turns the cgroup and the namespaces into operations (namespaces(7))."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.namespaces import NEWCGROUP, NEWPID, NEWTIME, NEWUSER
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import ClockOffset
    from pyoci.config.normal import ContainerConfig, Namespaces
    from pyoci.plan.facts import CgroupEntry

NOT_YET = ops.errnos(1)  # EPERM


def begin(config: ContainerConfig, first: int, cgroup: CgroupEntry) -> list[ops.Op]:
    """Returns the way into the cgroup and all namespaces, except a joined PID namespace (:func:`become_member`).

    first: init's descriptor of the first joined namespace; the descriptors of the cgroup follow.
    """
    namespaces = config.namespaces
    new = namespaces.new
    descriptor = first + len(namespaces.joined)
    into = descriptor if cgroup.by_clone else -1
    at_once = new & ~(NEWCGROUP | NEWTIME)
    steps: list[ops.Op] = [ops.Sync("", protocol.SYNC_ATTACH)] if cgroup.attaches else []
    if into >= 0 and _first_in_cgroup(namespaces):
        steps.append(ops.Clone3("", 0, into))
        into = -1
    steps += _joined(namespaces, first)
    if into >= 0 or at_once & NEWPID:
        steps.append(ops.Clone3("/linux/namespaces", at_once, into))
    elif at_once:
        steps.append(ops.Unshare("/linux/namespaces", at_once))
    if cgroup.count:
        steps.append(ops.EnterCgroup("/linux/cgroupsPath", descriptor + cgroup.by_clone, cgroup.count, cgroup.path))
    if new & NEWUSER:
        steps.append(ops.Sync("", protocol.SYNC_MAPS))
    # The root of a cgroup namespace is the cgroup of its creator, who must have entered it before. No clone flag puts a
    # child into a time namespace with offsets.
    if new & NEWCGROUP:
        steps.append(ops.Unshare("/linux/namespaces", NEWCGROUP))
    if new & NEWTIME:
        steps.append(ops.TimeOffsets("/linux/timeOffsets", _offsets(config.time_offsets)))
    return steps


def become_member(namespaces: Namespaces, first: int) -> list[ops.Op]:
    """Returns the way into a joined PID namespace, which needs a capability. Only a child is then a member
    (pid_namespaces(7)), and the other members see it from its clone on."""
    for index, entry in enumerate(namespaces.joined):
        if entry.flag == NEWPID and not namespaces.new & NEWUSER:
            return [ops.Setns(entry.where, first + index, NEWPID, entry.path, 0)]
    return []


def _first_in_cgroup(namespaces: Namespaces) -> bool:
    """Returns whether the v2 cgroup comes before all namespaces. A user of a joined user namespace may not enter it,
    and no child may be cloned between a joined PID namespace and a new user namespace."""
    return namespaces.joins(NEWUSER) or bool(namespaces.new & NEWUSER and namespaces.joins(NEWPID))


def _joined(namespaces: Namespaces, first: int) -> list[ops.Op]:
    """Orders the joined namespaces around the user namespace. Those that are joined beside a new user namespace belong
    to its parent, so they come before it. Beside a joined one they may belong to either: what cannot be entered from
    outside is entered from inside."""
    before: list[ops.Op] = []
    inside: list[ops.Op] = []
    user = namespaces.joins(NEWUSER)
    for index, entry in enumerate(namespaces.joined):
        descriptor = first + index
        setns = ops.Setns(entry.where, descriptor, entry.flag, entry.path, 0)
        if entry.flag == NEWPID:
            before.append(ops.ProcfsOf(entry.where, descriptor))
            if namespaces.new & NEWUSER:
                before.append(setns)
        elif entry.flag == NEWUSER:
            inside[:0] = [setns, ops.BecomeRoot("", clear_groups=False)]
        elif user:
            before.append(ops.Setns(entry.where, descriptor, entry.flag, entry.path, NOT_YET))
            inside.append(setns)
        else:
            before.append(setns)
    return before + inside


def _offsets(offsets: dict[str, ClockOffset]) -> str:
    """Returns the text for /proc/PID/timens_offsets (time_namespaces(7))."""
    return "".join(f"{clock} {by.get('secs', 0)} {by.get('nanosecs', 0)}\n" for clock, by in offsets.items())
