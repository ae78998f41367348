# SPDX-License-Identifier: Apache-2.0
"""``linux.namespaces`` as clone flags, descriptors to join, and operations (namespaces(7))."""

from __future__ import annotations

from pyoci.errors import SpecError
from pyoci.kernel.namespaces import NEWCGROUP, NEWPID, NEWTIME, NEWUSER, TYPES
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import ClockOffset, Config


class Namespaces:
    """What is to be done about namespaces.

    clone_flags: for clone3; join: (type, CLONE_NEW*, path, JSON pointer) in the order to be entered, user first and
    mount last; new: flags of all new ones, however they are made.
    """

    __slots__ = ("clone_flags", "join", "new", "offsets", "types")

    def __init__(self, config: Config) -> None:
        linux = config.get("linux") or {}
        self.new = 0
        self.types: list[str] = []
        found: dict[str, tuple[str, int, str, str]] = {}
        for index, entry in enumerate(linux.get("namespaces") or ()):
            kind, path = entry["type"], entry.get("path") or ""
            self.types.append(kind)
            if path:
                found[kind] = (kind, TYPES[kind][0], path, f"/linux/namespaces/{index}")
            else:
                self.new |= TYPES[kind][0]
        self.join = [found[kind] for kind in TYPES if kind in found]
        self.offsets = _offsets(linux.get("timeOffsets") or {})
        if "mount" not in self.types:
            raise SpecError("/linux/namespaces", "no mount namespace", hint='add {"type": "mount"}')
        # A cgroup namespace begins where its maker is, so init makes it when it is in its cgroup; a time namespace
        # has no clone flag that would put the child in it with offsets; and what a joined user namespace is to own
        # must be made inside of it.
        late = self.new if self.joins(NEWUSER) else NEWCGROUP | NEWTIME
        self.clone_flags = self.new & ~late

    def joins(self, flag: int) -> bool:
        """Whether the namespace of this CLONE_NEW* flag is an existing one."""
        return any(entry[1] == flag for entry in self.join)

    def private(self, flag: int) -> bool:
        """Whether the container does not share the host's namespace of this kind (as far as config.json says)."""
        return bool(self.new & flag) or self.joins(flag)

    def operations(self, first: int, clone: bool = True) -> list[ops.Op]:
        """Enter and make what clone3 could not; ``first`` is init's descriptor of the first joined one; ``clone``:
        become a member of the PID namespace at once (else :meth:`become_member` is for the caller to place)."""
        steps: list[ops.Op] = []
        for index, (kind, flag, path, where) in enumerate(self.join):
            steps.append(ops.Setns(where, first + index, flag, path))
            if kind == "user":
                steps.append(ops.BecomeRoot("", clear_groups=False))
        late = self.new & ~self.clone_flags & ~(NEWPID | NEWTIME)
        if late:
            steps.append(ops.Unshare("/linux/namespaces", late))
        if self.new & NEWTIME:
            steps.append(ops.TimeOffsets("/linux/timeOffsets", self.offsets))
        return steps + self.become_member() if clone else steps

    def become_member(self) -> list[ops.Op]:
        """A PID namespace that clone3 could not make is for children only (pid_namespaces(7)), so a child goes on."""
        late_pid = self.new & ~self.clone_flags & NEWPID
        return [ops.Clone3("", late_pid), ops.Setsid("")] if late_pid or self.joins(NEWPID) else []


def _offsets(offsets: dict[str, ClockOffset]) -> str:
    """The text for /proc/PID/timens_offsets (time_namespaces(7))."""
    lines = [f"{clock} {value.get('secs') or 0} {value.get('nanosecs') or 0}\n" for clock, value in offsets.items()]
    return "".join(lines)
