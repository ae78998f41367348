# SPDX-License-Identifier: Apache-2.0
"""A list of operations as the bytes of a launch plan (csrc/plan.h)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.plan.ops import Op


class Strings(dict[str, int]):
    """The plan's string area, as text → offset: a text is put in when it is asked for. Offset 0: the empty text."""

    def __init__(self) -> None:
        super().__init__({"": 0})
        self._parts = [b"\0"]
        self._size = 1

    def __missing__(self, text: str) -> int:
        data = _encoded(text) + b"\0"
        offset = self[text] = self._size
        self._parts.append(data)
        self._size += len(data)
        return offset

    def add(self, data: list[str] | bytes) -> int:
        """The offset of a list or a binary argument, each time anew. Raises ValueError if a text holds NUL."""
        if isinstance(data, bytes):
            self._append(b"\0" * (-self._size % 8))
            return self._append(data + b"\0")
        if not data:
            return 0
        return self._append(b"\0".join([str(len(data)).encode(), *map(_encoded, data), b""]))

    def _append(self, data: bytes) -> int:
        offset = self._size
        self._parts.append(data)
        self._size += len(data)
        return offset

    def bytes(self) -> bytes:
        """The whole area."""
        return b"".join(self._parts)


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a NUL character in {text[:40]!r}")
    return text.encode("utf-8", "surrogateescape")


def encode(ops: Sequence[Op]) -> tuple[list[tuple[int, Sequence[int], int, Sequence[int]]], bytes]:
    """The operations as rows for ``native.plan_memfd``, and the string area. Raises ValueError if a text holds NUL."""
    strings = Strings()
    rows: list[tuple[int, Sequence[int], int, Sequence[int]]] = []
    for op in ops:
        data, more = op.data, op.more
        texts = (
            strings[op.where],
            strings[op.path],
            strings[data] if isinstance(data, str) else strings.add(data),
            strings[more] if isinstance(more, str) else strings.add(more),
        )
        rows.append((op.kind, texts, 0, op.num))
    return rows, strings.bytes()
