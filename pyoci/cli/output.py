# SPDX-License-Identifier: Apache-2.0
"""Writes to the standard descriptors, without the ``io`` module."""

from __future__ import annotations

import os

from pyoci import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STDOUT = 1
STDERR = 2


def write(text: str, descriptor: int = STDOUT) -> None:
    """Writes all of ``text``. Surrogates, which stand for bytes that are not UTF-8, are written as those bytes.

    Raises OSError, also if the reader of a pipe is gone.
    """
    rest = text.encode("utf-8", "surrogateescape")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def one_line(text: str) -> str:
    """Returns the text with escapes for line ends and other control characters: a message is one line, and what a
    container has named must not reach a terminal or a log as a command to it.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\t" else repr(letter)[1:-1] for letter in text)


def pretty(value: Any, margin: str = "") -> str:
    """Returns indented JSON text, two spaces per level. Importing ``json`` would take as long as starting Python."""
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        inner = [f"{deeper}{jsontext.dumps(key)}: {pretty(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{margin}}}"
    if isinstance(value, list) and value:
        inner = [f"{deeper}{pretty(item, deeper)}" for item in value]
        return "[\n" + ",\n".join(inner) + f"\n{margin}]"
    return jsontext.dumps(value)
