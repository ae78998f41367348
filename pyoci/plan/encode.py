# SPDX-License-Identifier: Apache-2.0
"""A list of operations as the bytes of a launch plan (csrc/plan.h)."""

from __future__ import annotations

from _struct import Struct

from pyoci.plan.records import header
from pyoci.protocol import PLAN_MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.plan.operation import Op

_NUMBER = Struct("=Q").pack
# What is missing of a target's path is made so, less the umask.
DIRECTORY_MODE, FILE_MODE = 0o755, 0o644


class Strings(dict[str, int]):
    """The plan's string area, as text → offset: a text is put in when it is asked for. Offset 0: the empty text.

    Its functions give offsets, and raise ValueError if a text holds NUL.
    """

    def __init__(self) -> None:
        super().__init__({"": 0})
        self._parts = [b"\0"]
        self._size = 1

    def __missing__(self, text: str) -> int:
        offset = self[text] = self._append(_encoded(text) + b"\0")
        return offset

    def texts(self, items: Sequence[str]) -> int:
        """A list, each time anew."""
        return self._append(b"\0".join([str(len(items)).encode(), *map(_encoded, items), b""])) if items else 0

    def binary(self, data: bytes) -> int:
        """Bytes, behind their number."""
        self._append(b"\0" * (-self._size % 8))
        return self._append(_NUMBER(len(data)) + data)

    def _append(self, data: bytes) -> int:
        offset = self._size
        self._parts.append(data)
        self._size += len(data)
        return offset

    def bytes(self) -> bytes:
        """The whole area; its last byte is NUL."""
        return b"".join([*self._parts, b"\0"])


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a NUL character in {text[:40]!r}")
    return text.encode("utf-8", "surrogateescape")


def encode(ops: Sequence[Op], sync: int, start: int, preserve: int) -> bytes:
    """The whole plan: the operations, and where init finds its descriptors (struct plan_fds).

    Raises ValueError if a text holds NUL.
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
