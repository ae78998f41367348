# SPDX-License-Identifier: Apache-2.0
"""pyoci.kernel.signals against the kernel's own numbers, as Python's signal module has them."""

from __future__ import annotations

import signal

import pytest

from pyoci.kernel import signals


def test_every_name_has_the_number_of_this_machine() -> None:
    for one in signal.Signals:
        if one.name not in ("SIGRTMIN", "SIGRTMAX"):
            assert signals.number(one.name) == one.value
    assert (signals.SIGRTMIN, signals.SIGRTMAX) == (signal.SIGRTMIN, signal.SIGRTMAX)


@pytest.mark.parametrize(
    ("name", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigTerm", 15), ("kill", 9), ("9", 9), ("0", 0), ("64", 64), ("STKFLT", 16)]
    + [("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("RTMAX-1", 63), ("RTMAX-30", 34)],
)
def test_names_and_numbers(name: str, number: int) -> None:
    assert signals.number(name) == number


@pytest.mark.parametrize(
    "name",
    ["", "65", "-9", "+9", "9 ", " 9", "1e1", "NOSUCH", "SIG", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31", "RTMIN+"]
    + ["RTMIN+-1", "RTMINX", "999999999999", "٣", "TERM\n"],
)
def test_everything_else_is_no_signal(name: str) -> None:
    assert signals.number(name) == -1
