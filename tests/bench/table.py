# SPDX-License-Identifier: Apache-2.0
"""The results as text: a table for a terminal, and the same for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench import stats
from bench.stats import Results, Row

TOOLS = ("pyoci", "runc", "crun", "floor")
HEAD = ("", "n", *TOOLS, "/ runc", "/ crun", "unit")
SPREAD_HEAD = ("", "tool", "n", "min", "median", "IQR", "p95", "unit")
GROUPS = {
    "verbs": "Verbs",
    "seccomp": "Seccomp: podman's default profile",
    "pods": "A container that joins a pod's namespaces",
    "memory": "Memory",
    "scale": "Many containers",
    "engines": "End to end",
}


def number(value: float) -> str:
    """Returns the value with three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def medians(row: Row) -> list[str]:
    """Returns the cells of one row: medians and ratios."""
    found = row.summaries()
    cells = [row.name, str(max((one.n for one in found.values()), default=0))]
    cells += [number(found[tool].median / row.scale()) if tool in found else "" for tool in TOOLS]
    for other in ("runc", "crun"):
        ratio = row.ratio("pyoci", other)
        cells.append("" if ratio is None else f"{ratio:.2f}")
    return [*cells, row.unit]


def spreads(row: Row) -> list[list[str]]:
    """Returns a line for each tool of a row: least, median, the width of the middle half, 95th percentile."""
    found, lines = row.summaries(), []
    for tool in (tool for tool in TOOLS if tool in found):
        one, scale = found[tool], row.scale()
        values = (one.least, one.median, one.iqr, one.p95)
        lines.append([row.name, tool, str(one.n), *(number(value / scale) for value in values), row.unit])
    return lines


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width; the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table of Markdown; the first line is the head."""
    rule = ["---", *("---:" for _ in lines[0][1:])]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]


def of_group(results: Results, group: str) -> list[Row]:
    """Returns the rows of a group, in order."""
    return [row for row in results.rows.values() if row.group == group]


def growth(results: Results) -> list[list[str]]:
    """Returns the head and one row per verb: the median beside the most other containers over that beside the
    fewest."""
    beside: dict[str, dict[int, Row]] = {}
    for row in of_group(results, "scale"):
        verb, _, others = row.name.rpartition(", ")
        if verb and others.endswith(" others"):
            beside.setdefault(verb, {})[int(others.removesuffix(" others").replace(",", ""))] = row
    lines = []
    for verb, rows in beside.items():
        few, many = min(rows), max(rows)
        ratios = [stats.ratio(rows[many].samples.get(tool, ()), rows[few].samples.get(tool, ())) for tool in TOOLS[:3]]
        cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        lines.append([f"{verb}, {many:,} / {few:,} others", *cells])
    return [["", *TOOLS[:3]], *lines] if lines else []


def _grown(results: Results) -> list[str]:
    lines = growth(results)
    return ["Growth with the number of other containers: ratios of medians", "", *aligned(lines), ""] if lines else []


def text(results: Results) -> str:
    """Returns all results: medians with ratios, growth with other containers, the spread of every tool, what is left
    out."""
    head, spread = [list(HEAD)], [list(SPREAD_HEAD)]
    for group in GROUPS:
        head += [medians(row) for row in of_group(results, group)]
        spread += [line for row in of_group(results, group) for line in spreads(row)]
    lines = [
        "Medians; ratios are pyoci's median over the other's",
        "",
        *aligned(head),
        "",
        *_grown(results),
        "Spread",
        "",
        *aligned(spread),
    ]
    lines += ["", *(f"left out: {what}: {why}" for what, why in results.skipped.items())]
    lines += [f"{key}: {value}" for key, value in results.facts.items()]
    return "\n".join(lines)
