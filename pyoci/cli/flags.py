# SPDX-License-Identifier: Apache-2.0
"""The flags of a verb as a table, and a lenient parser for them.

Engines pass flags in the style of runc (Go: one dash or two, ``--tty=false``) and of crun (GNU: ``-dt``,
``--tty[=no]``). The parser accepts both. A table is a tuple of constant rows, so that it costs nothing to import::

    TABLE = (
        ("bundle b", TEXT, "PATH", "the directory of the bundle"),
        ("detach d", BOOL, "", "leave the process in the background"),
    )

The value of a flag is stored under the first name of its row.
"""

from __future__ import annotations

from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = tuple[str, str, str, str]
    Table = tuple[Row, ...]

BOOL = "bool"
TEXT = "text"
INT = "int"  # decimal, not negative
REPEAT = "repeat"  # text; each use adds one

_HELP = ("help", BOOL, "", "")
_YES = ("true", "yes", "on", "1", "t", "y")
_NO = ("false", "no", "off", "0", "f", "n")


class Parsed:
    """The result of :func:`parse`: the values of flags, and the other words in ``words``."""

    __slots__ = ("_values", "words")

    def __init__(self, values: dict[str, list[str]], words: list[str]) -> None:
        self._values = values
        self.words = words

    def given(self, name: str) -> bool:
        """Returns whether the flag was given."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """Returns the value of a BOOL flag, False if it was not given. The last use counts."""
        return self.text(name) == "true"

    def text(self, name: str, default: str = "") -> str:
        """Returns the value of a TEXT flag. The last use counts."""
        return self._values[name][-1] if name in self._values else default

    def number(self, name: str, default: int = 0) -> int:
        """Returns the value of an INT flag. The last use counts."""
        return int(self._values[name][-1]) if name in self._values else default

    def all(self, name: str) -> list[str]:
        """Returns all values of a REPEAT flag, in order."""
        return self._values.get(name, [])


def parse(table: Table, args: list[str], verb: str, stop_after: int = -1) -> Parsed:
    """Parses ``args`` by ``table``.

    verb: for messages, empty for the global flags; stop_after: the number of words after which flags end, because the
    rest belongs to another program (1 for ``exec ID COMMAND...``), or -1 if flags and words may mix. ``--`` ends the
    flags too. Every table has ``--help`` and ``-h``, as ``help``. Raises UsageError.
    """
    rows = {name: row for row in table for name in row[0].split()}
    rows.setdefault("help", _HELP)
    rows.setdefault("h", _HELP)
    values: dict[str, list[str]] = {}
    words: list[str] = []
    position = 0
    while position < len(args):
        word = args[position]
        position += 1
        if word == "--":
            break
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            if len(words) == stop_after:
                break
            continue
        for row, value in _split(rows, word, verb):
            if value is None:
                if position == len(args):
                    raise _fault(verb, f"flag {_dashed(row[0].split()[0])} requires an argument")
                value = args[position]
                position += 1
            name = row[0].split()[0]
            values.setdefault(name, []).append(_checked(row, name, value, verb))
    return Parsed(values, words + args[position:])


def words(parsed: Parsed, verb: str, *names: str, optional: int = 0) -> list[str]:
    """Returns the words of a verb that takes exactly ``names``, of which the last ``optional`` may be missing.

    Raises UsageError, which names the missing word or the surplus one.
    """
    count = len(parsed.words)
    if count > len(names):
        raise _fault(verb, f"unexpected argument {parsed.words[len(names)]!r}", hint=True)
    if count < len(names) - optional:
        raise _fault(verb, f"{names[count]} is missing", hint=True)
    return parsed.words


def _split(rows: dict[str, Row], word: str, verb: str) -> list[tuple[Row, str | None]]:
    """Returns the flags in a word that starts with a dash: rows and values; None means that the next word is the value.

    Raises UsageError.
    """
    name, equals, value = word.lstrip("-").partition("=") if word[:2] != "--" else word[2:].partition("=")
    row = rows.get(name)
    if row is not None:
        return [(row, value if equals else "true" if row[1] == BOOL else None)]
    found: list[tuple[Row, str | None]] = []
    letters = "" if word[:2] == "--" else word[1:]
    while letters:
        row = rows.get(letters[0])
        if row is None:
            break
        letters = letters[1:]
        if row[1] != BOOL:
            return [*found, (row, letters.removeprefix("=") or None)]
        if letters.startswith("="):
            return [*found, (row, letters[1:])]
        found.append((row, "true"))
    if found and not letters:
        return found
    from pyoci.cli.help import near

    meant = near(name, rows)
    suggestion = f" (did you mean --{meant}?)" if meant else ""
    raise _fault(verb, f"unknown flag {word.partition('=')[0]}{suggestion}", hint=True)


def _checked(row: Row, name: str, value: str, verb: str) -> str:
    """Returns the value in the form in which it is stored. Raises UsageError if the kind of the flag forbids it."""
    if row[1] == BOOL:
        if value.lower() not in _YES + _NO:
            raise _fault(verb, f"flag {_dashed(name)}: {value!r} is neither true nor false")
        return "true" if value.lower() in _YES else "false"
    if row[1] == INT and not (value.isascii() and value.isdigit() and len(value) < 10):
        raise _fault(verb, f"flag {_dashed(name)}: {value!r} is not a decimal number")
    return value


def _dashed(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _fault(verb: str, message: str, hint: bool = False) -> UsageError:
    """Returns an error with the verb in front of it. hint: whether to mention the help."""
    tail = f"; try '{' '.join(['pyoci', *verb.split()])} --help'" if hint else ""
    return UsageError(f"{verb}: {message}{tail}" if verb else message + tail)
