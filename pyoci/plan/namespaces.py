# SPDX-License-Identifier: Apache-2.0
"""Cgroup and namespaces as operations (namespaces(7))."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.namespaces import NEWCGROUP, NEWPID, NEWTIME, NEWUSER
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import ClockOffset
    from pyoci.config.normal import ContainerConfig, Namespaces
    from pyoci.plan.facts import Doors

NOT_YET = ops.errnos(1)  # EPERM


def begin(config: ContainerConfig, first: int, doors: Doors) -> list[ops.Op]:
    """Into the cgroup and all namespaces, but for a PID namespace that is joined (:func:`become_member`).

    first: init's descriptor of the first joined namespace; those of the cgroup come after them.
    """
    namespaces = config.namespaces
    new = namespaces.new
    door = first + len(namespaces.joined)
    into = door if doors.by_clone else -1
    at_once = new & ~(NEWCGROUP | NEWTIME)
    steps: list[ops.Op] = [ops.Sync("", protocol.SYNC_ATTACH)] if doors.attaches else []
    if into >= 0 and _first_in_cgroup(namespaces):
        steps.append(ops.Clone3("", 0, into))
        into = -1
    steps += _joined(namespaces, first)
    if into >= 0 or at_once & NEWPID:
        steps.append(ops.Clone3("/linux/namespaces", at_once, into))
    elif at_once:
        steps.append(ops.Unshare("/linux/namespaces", at_once))
    if doors.count:
        steps.append(ops.EnterCgroup("/linux/cgroupsPath", door + doors.by_clone, doors.count, doors.path))
    if new & NEWUSER:
        steps.append(ops.Sync("", protocol.SYNC_MAPS))
    # A cgroup namespace begins where its maker is, who has to be in the cgroup by then; and no clone flag puts a child
    # into a time namespace with offsets.
    if new & NEWCGROUP:
        steps.append(ops.Unshare("/linux/namespaces", NEWCGROUP))
    if new & NEWTIME:
        steps.append(ops.TimeOffsets("/linux/timeOffsets", _offsets(config.time_offsets)))
    return steps


def become_member(namespaces: Namespaces, first: int) -> list[ops.Op]:
    """What leads into a PID namespace that is joined, and takes a capability; only a child is in it then
    (pid_namespaces(7)), and is seen by its members from its clone on."""
    for index, entry in enumerate(namespaces.joined):
        if entry.flag == NEWPID and not namespaces.new & NEWUSER:
            return [ops.Setns(entry.where, first + index, NEWPID, entry.path, 0)]
    return []


def _first_in_cgroup(namespaces: Namespaces) -> bool:
    """Whether v2's cgroup comes before all namespaces: a user of a joined user namespace may not enter it, and no child
    may be cloned between a joined PID namespace and a new user namespace."""
    return namespaces.joins(NEWUSER) or bool(namespaces.new & NEWUSER and namespaces.joins(NEWPID))


def _joined(namespaces: Namespaces, first: int) -> list[ops.Op]:
    """Namespaces belong to user namespaces. Beside a new one all others are the parent's, so they come before it.
    Beside a joined one they may be of either: what may not be entered from outside is entered from inside."""
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
    """The text for /proc/PID/timens_offsets (time_namespaces(7))."""
    return "".join(f"{clock} {by.get('secs', 0)} {by.get('nanosecs', 0)}\n" for clock, by in offsets.items())
