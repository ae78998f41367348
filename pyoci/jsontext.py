# SPDX-License-Identifier: Apache-2.0
"""JSON by CPython's C accelerator, without the ``json`` package.

``import json`` takes longer than the start of a bare interpreter, because its decoder and encoder import ``re``. The C
module ``_json`` does the work, and this module calls it directly. Python implementations without it use the package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    from _json import encode_basestring as _quote
    from _json import make_encoder as _make_encoder
    from _json import make_scanner as _make_scanner
except ImportError:  # pragma: no cover - not CPython
    _make_scanner = None  # type: ignore[assignment, misc]


# Characters that JSON allows as they are, and that a terminal takes for commands (DEL, C1) or that turn the direction
# of a text (UAX #9). They stand only in strings, so an escape can take their place in the finished text.
_UNSEEN = {
    code: f"\\u{code:04x}"
    for code in (*range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class _Context:
    """The settings that ``_json.make_scanner`` reads (see ``json.decoder.JSONDecoder``)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")


def loads(text: bytes | str) -> Any:
    """Returns the value of a JSON document (RFC 8259). Bytes must be UTF-8.

    Raises ValueError, which names the line and column of the fault.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start} is not UTF-8") from error
    if _make_scanner is None:  # pragma: no cover
        import json

        return json.loads(text)
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise ValueError(_fault(text, stop.value, "a value is missing or malformed")) from stop
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except SystemError:
        # For some faults the C module raises an exception of json.decoder, which fails if that is not imported.
        import json

        return json.loads(text)
    rest = text[end:].strip(" \t\r\n")
    if rest:
        raise ValueError(_fault(text, text.index(rest, end), "more text follows the document"))
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """Returns the JSON text of a value: one line, or with ``indent`` spaces per level. No terminal obeys it."""
    if indent is not None or _make_scanner is None:
        import json

        text = json.dumps(value, indent=indent, ensure_ascii=False)
    else:
        encoder = _make_encoder(None, _refuse, _quote, None, ": ", ", ", False, False, False)
        text = "".join(encoder(value, 0))
    return text if text.isascii() and "\x7f" not in text else text.translate(_UNSEEN)


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _fault(text: str, position: int, what: str) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line} column {column}: {what}"


if _make_scanner is not None:
    _scan: Callable[[str, int], tuple[Any, int]] = _make_scanner(_Context)  # type: ignore[arg-type]
