# SPDX-License-Identifier: Apache-2.0
"""The base of all operations of a launch plan: fields, their encoding, and their text."""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.capabilities import BITS
from pyoci.kernel.mounts import ATIME, ATTRIBUTES, PROPAGATION
from pyoci.kernel.namespaces import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, ClassVar

    from pyoci.plan.encode import Strings

CLONE_NAMES = tuple(sorted((flag, kind) for kind, (flag, _) in TYPES.items()))
ATTR_NAMES = tuple((to_set, name) for name, (to_set, _) in ATTRIBUTES.items() if to_set)
# atime is a field of several bits. Clearing it leaves relatime, the default of the kernel.
CLEARED_NAMES = ((ATIME, "noatime|strictatime"), *ATTR_NAMES)
PROPAGATION_NAMES = tuple((bit, name) for name, bit in PROPAGATION.items())
FLAG_NAMES = (
    (protocol.PLAN_MOUNT_RECURSIVE_ATTR, "recursive"),
    (protocol.PLAN_MOUNT_FILE, "file"),
    (protocol.PLAN_MOUNT_NO_SYMLINKS, "no symlinks"),
    (protocol.PLAN_MOUNT_ON_PROC, "on procfs"),
    (protocol.PLAN_MOUNT_PROC_SOURCE, "of procfs"),
    (protocol.PLAN_MOUNT_KEEP_MODE, "keep mode"),
    (protocol.PLAN_MOUNT_RECURSIVE_PROPAGATION, "recursive propagation"),
)
CAPABILITY_NAMES = tuple((bit, name) for name, bit in BITS.items())


class Op:
    """An operation. where: the JSON pointer of the property that asks for it.

    The subclasses in records.py, generated from csrc/operations.def, have the fields; those of ops.py describe them.
    """

    __slots__ = ("where",)
    kind: ClassVar[int] = 0
    name: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    where: str

    def record(self, strings: Strings) -> bytes:
        """Returns the bytes of the operation.

        Its texts are added to ``strings``. Raises ValueError for NUL in a text.
        """
        raise NotImplementedError

    def shown(self) -> dict[str, Any]:
        """Returns the fields by name, with words for numbers that have a meaning."""
        return {field: _meaning(field, getattr(self, field)) for field in self.fields}

    def details(self) -> str:
        """Returns the arguments as text."""
        return " ".join(part for part in map(words, self.shown().values()) if part)

    def describe(self) -> str:
        """Returns one line: the operation, the arguments, the JSON pointer."""
        line = f"{self.name} {self.details()}".rstrip()
        return f"{line}  # {self.where}" if self.where else line

    def document(self) -> dict[str, Any]:
        """Returns the operation for JSON: its name, its fields, the JSON pointer."""
        return {"operation": self.name, **self.shown(), "where": self.where}


def words(value: Any) -> str:
    """Returns the value of a field as text."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, (str, int)):
        return str(value)
    return " ".join(repr(item) if not item or " " in item else item for item in value)


def hook_text(path: str, args: Sequence[str], env: Sequence[str] | None, timeout: int) -> str:
    """Returns a hook as text. env: None if it is inherited; timeout: in ms, 0 for none."""
    environment = "inherited" if env is None else words(env) or "empty"
    limit = f", at most {timeout} ms" if timeout else ""
    return f"{path} {words(args)} (environment: {environment}{limit})"


def bits(value: int, names: Iterable[tuple[int, str]]) -> list[str]:
    """Returns the names of the bits that are set, and the rest as one number."""
    found = []
    for bit, name in names:
        if value & bit == bit:
            found.append(name)
            value &= ~bit
    return [*found, hex(value)] if value else found


def errnos(*numbers: int) -> int:
    """Returns a field of type ERRNOS: with these errnos the operation has not failed."""
    return sum(1 << number for number in numbers)


def _errno_names(value: int) -> list[str]:
    from errno import errorcode

    return [errorcode.get(number, str(number)) for number in range(64) if value >> number & 1]


def _meaning(field: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return MEANINGS[field](value) if field in MEANINGS else value


# How the numbers in a field are shown, by the name of the field.
MEANINGS: dict[str, Callable[[int], Any]] = {
    "namespaces": lambda value: bits(value, CLONE_NAMES),
    "attr_set": lambda value: bits(value, ATTR_NAMES),
    "attr_clear": lambda value: bits(value, CLEARED_NAMES),
    "propagation": lambda value: bits(value, PROPAGATION_NAMES),
    "flags": lambda value: bits(value, FLAG_NAMES),
    "tolerated": _errno_names,
    "deferred": _errno_names,
    **dict.fromkeys(
        ("keep", "effective", "permitted", "inheritable", "ambient"), lambda value: bits(value, CAPABILITY_NAMES)
    ),
}
