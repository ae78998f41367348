# SPDX-License-Identifier: Apache-2.0
"""The bytes of a plan: every argument is found where its offset says (csrc/plan.h)."""

from __future__ import annotations

import pytest

from pyoci.plan import ops
from pyoci.plan.encode import encode


def text(area: bytes, offset: int) -> str:
    """The text at an offset."""
    return area[offset : area.index(b"\0", offset)].decode("utf-8", "surrogateescape")


def texts(area: bytes, offset: int) -> list[str]:
    """The list at an offset: its length, then the texts."""
    count, *rest = area[offset:].split(b"\0")
    return [item.decode("utf-8", "surrogateescape") for item in rest[: int(count)]]


def test_texts() -> None:
    first = ops.Op("/mounts/0", "/dätä", "tmpfs", ["size=1k", "", "mode=755"], (1, 2))
    second = ops.Op("/mounts/0", "", "\udcff", [], [3])
    rows, area = encode([first, second])
    assert [(row[0], list(row[3])) for row in rows] == [(first.kind, [1, 2]), (second.kind, [3])]
    where, path, data, more = rows[0][1]
    assert (text(area, where), text(area, path), text(area, data)) == ("/mounts/0", "/dätä", "tmpfs")
    assert texts(area, more) == ["size=1k", "", "mode=755"]
    assert rows[1][1][0] == where  # a text is there once
    assert (rows[1][1][1], rows[1][1][3], text(area, rows[1][1][2])) == (0, 0, "\udcff")
    assert area[0] == 0
    assert area[-1] == 0


def test_binary_is_aligned() -> None:
    program = bytes(range(16))
    rows, area = encode([ops.Op("/a", data=program), ops.Op("/b", data=program)])
    for row in rows:
        offset = row[1][2]
        assert offset % 8 == 0
        assert area[offset : offset + 16] == program


@pytest.mark.parametrize("op", [ops.Op(path="/a\0b"), ops.Op(more=["a", "b\0"])])
def test_nul(op: ops.Op) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode([op])
