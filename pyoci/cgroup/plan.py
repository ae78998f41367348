# SPDX-License-Identifier: Apache-2.0
"""The settings of a container's cgroup, decided before anything is created."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyoci.cgroup.devices import Exceptions, Rule
    from pyoci.cgroup.files import Write


class CgroupPlan:
    """The resources in the form of the manager. Everything in it has been checked.

    writes: the limits, as control files; rules: the device rules, or None; exceptions: the same in the form of v1;
    code: the same in the form of v2, empty where everything is allowed; owner: the user of the host who shall own
    the group (delegation), or -1.
    """

    __slots__ = ("code", "exceptions", "owner", "rules", "writes")

    def __init__(
        self,
        writes: list[Write] | None = None,
        rules: list[Rule] | None = None,
        exceptions: Exceptions | None = None,
        code: bytes = b"",
        owner: int = -1,
    ) -> None:
        self.writes = writes or []
        self.rules = rules
        self.exceptions = exceptions
        self.code = code
        self.owner = owner

    def lines(self, path: str, manager: str) -> list[Line]:
        """Returns everything that is done to the group at ``path``, in order, for ``plan``."""
        found = [Line("cgroup", {"path": path, "manager": manager}, "/linux/cgroupsPath")]
        if self.owner >= 0:
            found.append(Line("cgroup_owner", {"uid": self.owner}, "/linux/uidMappings"))
        for rule in self.rules or ():
            what = {"access": "allow" if rule.allow else "deny", "device": rule.text()}
            found.append(Line("cgroup_device", what, rule.pointer))
        for controller, file, value, pointer in self.writes:
            found.append(Line("cgroup_limit", {"controller": controller, "file": file, "value": value}, pointer))
        return found


class Line:
    """One thing that is done to a cgroup. name: its name; what: its arguments, for JSON; where: the JSON pointer of the
    property that asks for it.
    """

    __slots__ = ("name", "what", "where")

    def __init__(self, name: str, what: Mapping[str, str | int], where: str) -> None:
        self.name = name
        self.what = what
        self.where = where

    def describe(self) -> str:
        """Returns one line: the name, the arguments, the JSON pointer."""
        shown = [str(value) for key, value in self.what.items() if key not in ("controller", "manager")]
        return f"{self.name} {' '.join(shown)}  # {self.where}"

    def document(self) -> dict[str, str | int]:
        """Returns the same as an object for JSON."""
        return {"operation": self.name, **self.what, "where": self.where}
