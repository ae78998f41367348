# SPDX-License-Identifier: Apache-2.0
"""Help texts, generated from the tables. Imported only for ``--help`` and for mistyped names."""

from __future__ import annotations

from pyoci.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.cli.flags import Table


def near(name: str, names: Iterable[str]) -> str:
    """Returns the one of ``names`` that is closest to a mistyped ``name``, or "" if none is close."""
    best = min(((_distance(name, other), other) for other in names if len(other) > 1), default=(99, ""))
    return best[1] if best[0] <= min(3, max(1, len(name) // 3)) else ""


def show_verb(verb: str, usage: str, summary: str, table: Table) -> int:
    """Prints the help of one verb to stdout. Returns 0."""
    lines = [f"usage: pyoci [global flags] {verb} {usage}".rstrip(), "", summary, ""]
    write("\n".join([*lines, *_rows(table)]) + "\n")
    return 0


def show_all(verbs: Iterable[tuple[str, str]], table: Table) -> int:
    """Prints the global help to stdout. Returns 0. verbs: name and summary of each."""
    lines = ["usage: pyoci [global flags] VERB [flags] [arguments]", "", "An OCI container runtime.", "", "verbs:"]
    lines += [f"  {name:<12}{summary}" for name, summary in verbs]
    lines += ["", "global flags:", *_rows(table), "", "'pyoci VERB --help' shows the flags of a verb."]
    write("\n".join(lines) + "\n")
    return 0


def _rows(table: Table) -> list[str]:
    """Returns one line per flag: its names, its value, and what it does."""
    rows = [*table, ("help h", "bool", "", "print this help")]
    shown = []
    for names, _kind, value, text in rows:
        dashed = ", ".join(("--" if len(name) > 1 else "-") + name for name in reversed(names.split()))
        shown.append((f"{dashed} {value}".rstrip(), text))
    width = max(len(left) for left, _ in shown) + 2
    return [f"  {left:<{width}}{text}" for left, text in shown]


def _distance(one: str, other: str) -> int:
    """Returns how many letters to insert, remove, replace, or swap with their neighbour (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        rows.append([i])
        for j, mark in enumerate(other, 1):
            best = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (letter != mark))
            if i > 1 and j > 1 and one[i - 2] == mark and other[j - 2] == letter:
                best = min(best, rows[i - 2][j - 2] + 1)
            rows[i].append(best)
    return rows[-1][-1]
