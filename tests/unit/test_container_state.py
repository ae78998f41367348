# SPDX-License-Identifier: Apache-2.0
"""The time in a state."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from pyoci.container import state

DAY = 86400
EDGES = [0, DAY - 1, 951782399, 951782400, 951868800, 1709164800, 4107542399, 4107542400, 253402300799]


@pytest.mark.parametrize("seconds", EDGES)
def test_moments_at_the_edges(seconds: int) -> None:
    """The ends of days and years, 29 February of 2000 and 2024, and the one that 2100 lacks."""
    assert state.moment(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def test_any_moment() -> None:
    chosen = random.Random(1)
    for _ in range(2000):
        seconds = chosen.randrange(253402300800)
        assert state.moment(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def test_now_is_rfc_3339_with_nanoseconds() -> None:
    text = state.now()
    assert len(text) == len("2026-01-02T03:04:05.123456789Z")
    assert abs(datetime.fromisoformat(text).timestamp() - datetime.now(UTC).timestamp()) < 60
