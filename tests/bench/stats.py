# SPDX-License-Identifier: Apache-2.0
"""Statistics of samples. Times are in nanoseconds, memory in KiB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """What a row shows of one tool: in the unit of the samples, `n` their number."""

    n: int
    least: float
    first_quartile: float
    median: float
    third_quartile: float
    p95: float

    @property
    def iqr(self) -> float:
        """The width of the middle half."""
        return self.third_quartile - self.first_quartile


def quantile(ordered: Sequence[float], share: float) -> float:
    """Returns a quantile of sorted samples, interpolated linearly. Raises ValueError if there are none."""
    if not ordered:
        raise ValueError("quantile of no samples")
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summary(samples: Sequence[float]) -> Summary:
    """Least, quartiles, median and 95th percentile. ValueError if there are no samples."""
    ordered = sorted(samples)
    return Summary(
        len(ordered),
        quantile(ordered, 0),
        quantile(ordered, 0.25),
        quantile(ordered, 0.5),
        quantile(ordered, 0.75),
        quantile(ordered, 0.95),
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Returns the ratio of the medians; None where one of them was not measured or is nothing."""
    if not ours or not theirs:
        return None
    base = summary(theirs).median
    return summary(ours).median / base if base > 0 else None


class Row:
    """One thing measured, for each tool that can do it. `unit` is "ms" (samples in ns) or "KiB"."""

    def __init__(self, group: str, name: str, unit: str = "ms") -> None:
        self.group = group
        self.name = name
        self.unit = unit
        self.samples: dict[str, list[int]] = {}

    def add(self, tool: str, sample: int) -> None:
        """One more sample of a tool."""
        self.samples.setdefault(tool, []).append(sample)

    def scale(self) -> float:
        """Returns the divisor that turns a sample into the unit."""
        return 1e6 if self.unit == "ms" else 1.0

    def summaries(self) -> dict[str, Summary]:
        """Of each tool, in the unit of the samples."""
        return {tool: summary(samples) for tool, samples in self.samples.items()}

    def ratio(self, ours: str, theirs: str) -> float | None:
        """Returns the ratio of two tools' medians."""
        return ratio(self.samples.get(ours, ()), self.samples.get(theirs, ()))


class Results:
    """All rows in the order in which they were first asked for, and what was left out, with the reason."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, str | int] = {}
        self.mark = ""  # what the names of all that the run made begin with

    def row(self, group: str, name: str, unit: str = "ms") -> Row:
        """Returns the row of this name, and adds it if it is new."""
        return self.rows.setdefault((group, name), Row(group, name, unit))

    def document(self) -> dict[str, object]:
        """As JSON, samples and all."""
        rows = [
            {
                "group": row.group,
                "name": row.name,
                "unit": row.unit,
                "samples": row.samples,
                "summary": {tool: one._asdict() for tool, one in row.summaries().items()},
            }
            for row in self.rows.values()
        ]
        return {"format": 1, "mark": self.mark, "facts": self.facts, "skipped": self.skipped, "rows": rows}

    @classmethod
    def of(cls, document: dict[str, object]) -> Results:
        """Returns the results that `document` wrote. ValueError if it is of another format."""
        if document.get("format") != 1:
            raise ValueError("results of another version; run make bench")
        made = cls()
        made.facts = document["facts"]  # type: ignore[assignment]
        made.skipped = document["skipped"]  # type: ignore[assignment]
        for one in document["rows"]:  # type: ignore[attr-defined]
            made.row(one["group"], one["name"], one["unit"]).samples = one["samples"]
        return made
