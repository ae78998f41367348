# SPDX-License-Identifier: Apache-2.0
"""Namespaces as clone flags and operations (namespaces(7))."""

from __future__ import annotations

from pyoci.kernel.namespaces import NEWCGROUP, NEWPID, NEWTIME, NEWUSER
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import ClockOffset
    from pyoci.config.normal import ContainerConfig, Namespaces


def clone_flags(namespaces: Namespaces) -> int:
    """The flags of the new namespaces that clone3 makes.

    A cgroup namespace begins where its maker is, so init makes it when it is in its cgroup; a time namespace has no
    clone flag that would put the child in it with offsets; and what a joined user namespace is to own must be made
    inside of it.
    """
    late = namespaces.new if namespaces.joins(NEWUSER) else NEWCGROUP | NEWTIME
    return namespaces.new & ~late


def operations(config: ContainerConfig, first: int) -> list[ops.Op]:
    """Enter and make what clone3 could not, but for the PID namespace; ``first`` is init's descriptor of the first
    joined one."""
    namespaces = config.namespaces
    steps: list[ops.Op] = []
    for index, entry in enumerate(namespaces.joined):
        steps.append(ops.Setns(entry.where, first + index, entry.flag, entry.path))
        if entry.flag == NEWUSER:
            steps.append(ops.BecomeRoot("", clear_groups=False))
    late = namespaces.new & ~clone_flags(namespaces) & ~(NEWPID | NEWTIME)
    if late:
        steps.append(ops.Unshare("/linux/namespaces", late))
    if namespaces.new & NEWTIME:
        steps.append(ops.TimeOffsets("/linux/timeOffsets", _offsets(config.time_offsets)))
    return steps


def become_member(namespaces: Namespaces) -> list[ops.Op]:
    """A PID namespace that clone3 could not make is for children only (pid_namespaces(7)), so a child goes on."""
    late_pid = namespaces.new & ~clone_flags(namespaces) & NEWPID
    return [ops.Clone3("", late_pid), ops.Setsid("")] if late_pid or namespaces.joins(NEWPID) else []


def _offsets(offsets: dict[str, ClockOffset]) -> str:
    """The text for /proc/PID/timens_offsets (time_namespaces(7))."""
    return "".join(f"{clock} {by.get('secs', 0)} {by.get('nanosecs', 0)}\n" for clock, by in offsets.items())
