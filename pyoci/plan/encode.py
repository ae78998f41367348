# SPDX-License-Identifier: Apache-2.0
"""Encodes a list of operations as the bytes of a launch plan (csrc/plan.h)."""

from __future__ import annotations

from _struct import Struct

from pyoci.plan.records import header
from pyoci.protocol import PLAN_MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.plan.operation import Op

_NUMBER = Struct("=Q").pack
# The mode of missing directories in the path of a target, before the umask.
DIRECTORY_MODE, FILE_MODE = 0o755, 0o644


class Strings(dict[str, int]):
    """The string area of the plan, as text → offset. Looking a text up adds it. Offset 0 is the empty text.

    The methods return offsets. They raise ValueError if a text contains NUL.
    """

    def __init__(self) -> None:
        super().__init__({"": 0})
        self._parts = [b"\0"]
        self._size = 1

    def __missing__(self, text: str) -> int:
        offset = self[text] = self._append(_encoded(text) + b"\0")
        return offset

    def texts(self, items: Sequence[str]) -> int:
        """Adds a list, even if it was added before."""
        return self._append(b"\0".join([str(len(items)).encode(), *map(_encoded, items), b""])) if items else 0

    def binary(self, data: bytes) -> int:
        """Adds bytes, preceded by their number."""
        self._append(b"\0" * (-self._size % 8))
        return self._append(_NUMBER(len(data)) + data)

    def _append(self, data: bytes) -> int:
        offset = self._size
        self._parts.append(data)
        self._size += len(data)
        return offset

    def bytes(self) -> bytes:
        """Returns the whole area. Its last byte is NUL."""
        return b"".join([*self._parts, b"\0"])


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a NUL character in {text[:40]!r}")
    return text.encode("utf-8", "surrogateescape")


def encode(ops: Sequence[Op], sync: int, start: int, preserve: int) -> bytes:
    """Returns the whole plan: the operations, and the numbers of init's descriptors (struct plan_fds).

    Raises ValueError if a text contains NUL.
    """
    strings = Strings()
    operations = b"".join([op.record(strings) for op in ops])
    area = strings.bytes()
    head = header(
        magic=PLAN_MAGIC,
        operations_size=len(operations),
        strings_size=len(area),
        directory_mode=DIRECTORY_MODE,
        file_mode=FILE_MODE,
        sync=sync,
        start=start,
        preserve=preserve,
    )
    return b"".join((head, operations, area))
