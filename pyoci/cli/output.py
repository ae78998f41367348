# SPDX-License-Identifier: Apache-2.0
"""Writing to the standard descriptors, without the ``io`` stack: whole, or an error."""

from __future__ import annotations

import os

from pyoci import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STDOUT = 1
STDERR = 2


def write(text: str, descriptor: int = STDOUT) -> None:
    """Writes all of ``text``; bytes that came from the file system as surrogates go out as they were.

    Raises OSError, also when a pipe's reader is gone.
    """
    rest = text.encode("utf-8", "surrogateescape")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def one_line(text: str) -> str:
    """The text with its line ends made visible, since every message is one line."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def pretty(value: Any, margin: str = "") -> str:
    """JSON text for people, two spaces a level; ``json`` itself would cost a whole interpreter start."""
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        inner = [f"{deeper}{jsontext.dumps(key)}: {pretty(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{margin}}}"
    if isinstance(value, list) and value:
        inner = [f"{deeper}{pretty(item, deeper)}" for item in value]
        return "[\n" + ",\n".join(inner) + f"\n{margin}]"
    return jsontext.dumps(value)
