# SPDX-License-Identifier: Apache-2.0
"""A list of operations as the bytes of a launch plan (csrc/plan.h)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyoci.plan.ops import Data, Op


class Strings:
    """The plan's string area: each text once, offset 0 the empty text."""

    def __init__(self) -> None:
        self._parts = [b"\0"]
        self._size = 1
        self._known: dict[str, int] = {"": 0}

    def add(self, data: Data) -> int:
        """The offset of a text, a list or a binary argument. Raises ValueError if a text holds NUL."""
        if isinstance(data, str):
            offset = self._known.get(data)
            if offset is None:
                offset = self._known[data] = self._append(_encoded(data) + b"\0")
            return offset
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
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError(f"a NUL character in {text[:40]!r}")
    return data


def encode(ops: Sequence[Op]) -> tuple[list[tuple[int, Sequence[int], int, Sequence[int]]], bytes]:
    """The operations as rows for ``native.plan_memfd``, and the string area."""
    strings = Strings()
    add = strings.add
    rows: list[tuple[int, Sequence[int], int, Sequence[int]]] = [
        (op.kind, (add(op.where), add(op.path), add(op.data), add(op.more)), 0, tuple(op.num)) for op in ops
    ]
    return rows, strings.bytes()
