# SPDX-License-Identifier: Apache-2.0
"""Writes docs/benchmarks.md and its plots from build/bench/results.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench import instructions, table
from bench.stats import Results, Row
from bench.tools import REPOSITORY

TARGET = REPOSITORY / "docs/benchmarks.md"
PLOTS = REPOSITORY / "docs/benchmarks"
COLOURS = {"pyoci": "#2a6fbb", "runc": "#b8b8b8", "crun": "#7a7a7a", "floor": "#d9a441"}
INTRODUCTION = """\
# Benchmarks

`make bench` measures, and `make bench-docs` writes this page and its plots. All tools take turns in one run, so that
noise of the machine affects them alike. **Compare the ratios**, which are ratios of medians: below 1, pyoci is faster
or smaller. A time is that of the whole process, from posix_spawn to wait4, as an engine sees it. `floor` is a static
C program that makes only the system calls that are needed: six namespaces, six mounts, pivot_root and exec for `run
true`; setns, clone and exec for `exec true`. It has no checks, cgroups, hardening or state. The state of all runtimes
is on a tmpfs, as `/run` is on every real host. Bundles and root file systems are on the disk.
"""
NOTES = {
    "verbs": "Containers are created and deleted one after the other. `exec true` comes in between and is not one of "
    "the five verbs. The config is what `runc spec` writes: 5 new namespaces, 7 mounts, masked paths.",
    "seccomp": "Cold: pyoci's cache of compiled programs is emptied before each call, and crun's too if it has one. "
    "runc compiles each time.",
    "pods": "The network, ipc and uts namespaces are those of a running pause container, joined by path.",
    "memory": "Peaks are ru_maxrss of the runtime's process and of the children that it waited for; the kernel is "
    "exact to about 100 KiB. The private memory of a created container is Private_Clean + Private_Dirty of its first "
    "process.",
    "scale": "The other containers are copies of one stopped container's state under other IDs. The last table shows "
    "the ratios of the medians with the most and with the fewest of them. A hundred containers: `create` and `start` "
    "of each, in sequence; then all `create` at the same time, and after them all `start`.",
    "engines": "Most of the time is the engine's own. Storage and daemon belong to the benchmark.",
}


def write(source: Path) -> int:
    """Writes the page and the plots; 1 if there are no results to make them from."""
    try:
        results = Results.of(json.loads(source.read_text()))
    except (OSError, ValueError) as error:
        print(f"bench: {source}: {error}; run make bench", file=sys.stderr)
        return 1
    PLOTS.mkdir(exist_ok=True)
    lines = [INTRODUCTION, *_facts(results), ""]
    for group, title in table.GROUPS.items():
        rows = [row for row in table.of_group(results, group) if row.samples]
        if rows:
            lines += [f"## {title}", "", NOTES[group], "", f"![{title}](benchmarks/{group}.svg)", ""]
            lines += [*table.markdown([list(table.HEAD), *map(table.medians, rows)]), ""]
            if group == "scale" and (grown := table.growth(results)):
                lines += [*table.markdown(grown), ""]
            plot(rows, title, PLOTS / f"{group}.svg")
    lines += _left_out(results) + _instructions() + ["## Spread", ""]
    spread = [line for row in results.rows.values() for line in table.spreads(row)]
    lines += [*table.markdown([list(table.SPREAD_HEAD), *spread])]
    TARGET.write_text("\n".join(lines) + "\n")
    return 0


def _facts(results: Results) -> list[str]:
    return [f"- {key}: {value}" for key, value in results.facts.items()]


def _left_out(results: Results) -> list[str]:
    if not results.skipped:
        return []
    return ["## Left out", "", *(f"- {what}: {why}" for what, why in results.skipped.items()), ""]


def _instructions() -> list[str]:
    counted = instructions.read()
    if not counted:
        return []
    cells = [["million instructions", *instructions.TOOLS]]
    for verb, counts in counted["verbs"].items():
        found = [f"{counts[tool] / 1e6:.2f}" if tool in counts else "" for tool in instructions.TOOLS]
        cells.append([verb, *found])
    return ["## Instructions", "", " ".join(instructions.NOTE), "", *table.markdown(cells), ""]


def plot(rows: list[Row], title: str, path: Path) -> None:
    """Horizontal bars of the medians, the middle half as a line; one panel for each unit."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "pyoci", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    panels = _panels(rows)
    heights = [len(panel) for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(8, 0.62 * sum(heights) + 0.9 * len(panels)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _bars(axis, panel)
    axes[0, 0].set_title(title)
    tools = {tool: None for row in rows for tool in table.TOOLS if tool in row.samples}
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[tool]) for tool in table.TOOLS if tool in tools]
    axes[0, 0].legend(handles, [tool for tool in table.TOOLS if tool in tools], frameon=False, loc="best")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _panels(rows: list[Row]) -> list[list[Row]]:
    """Rows that can share an axis: of one unit, and of one order of size."""
    panels: dict[tuple[str, bool], list[Row]] = {}
    for row in rows:
        largest = max(one.median for one in row.summaries().values()) / row.scale()
        panels.setdefault((row.unit, largest > 1000), []).append(row)
    return list(panels.values())


def _bars(axis: Any, rows: list[Row]) -> None:
    height = 0.8 / len(table.TOOLS)
    for place, row in enumerate(rows):
        found = row.summaries()
        for index, tool in enumerate(tool for tool in table.TOOLS if tool in found):
            one, scale = found[tool], row.scale()
            middle, low, high = (value / scale for value in (one.median, one.first_quartile, one.third_quartile))
            axis.barh(
                place + index * height,
                middle,
                height,
                color=COLOURS[tool],
                xerr=[[middle - low], [high - middle]],
                error_kw={"elinewidth": 0.8},
            )
    axis.set_yticks([place + 1.0 * height for place in range(len(rows))], [row.name for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel(f"{rows[0].unit}, median and middle half")
    axis.spines[["top", "right"]].set_visible(False)
