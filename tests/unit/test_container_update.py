# SPDX-License-Identifier: Apache-2.0
"""update as far as it needs no container: what is kept, sizes, and how errors name what is at fault."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cli import update as verb
from pyoci.container.update import Origin, merged
from pyoci.errors import CgroupError, OutOfMemory, SpecError, UnsupportedError

KEPT: Any = {
    "memory": {"limit": 5, "swap": 9},
    "cpu": {"shares": 3, "cpus": "0", "idle": 1},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "unified": {"a.b": "1"},
    "pids": {"limit": 4},
}


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({}, {}),
        ({"memory": {"limit": 7}}, {"memory": {"limit": 7, "swap": 9}}),
        ({"memory": {"limit": 0, "swap": 0}}, {}),
        ({"memory": {"limit": -1}}, {"memory": {"limit": -1, "swap": -1}}),
        ({"memory": {"limit": -1, "swap": 8}}, {"memory": {"limit": -1, "swap": 8}}),
        ({"cpu": {"shares": 0, "cpus": "", "idle": 0}}, {"cpu": {"shares": 3, "cpus": "0", "idle": 0}}),
        ({"cpu": {"burst": 0}}, {"cpu": {**KEPT["cpu"], "burst": 0}}),
        ({"pids": {"limit": 0}}, {"pids": {"limit": 0}}),
        ({"unified": {"c.d": ""}}, {"unified": {"a.b": "1", "c.d": ""}}),
        (
            {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}, {"pageSize": "2MB", "limit": 6}]},
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 6}, {"pageSize": "1GB", "limit": 0}]},
        ),
        ({"devices": []}, {"devices": []}),
        ({"blockIO": {"weight": 0}}, {"blockIO": {}}),
    ],
)
def test_what_is_kept(given: Any, changes: dict[str, Any]) -> None:
    before = repr(KEPT)
    assert merged(KEPT, given) == {**KEPT, **changes}
    assert repr(KEPT) == before


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("7", 7), ("-1", -1), ("7b", 7), ("7k", 7168), ("7K", 7168), ("7kb", 7168), ("7KiB", 7168),
        ("64m", 64 << 20), ("64 MB", 64 << 20), ("1.5g", 3 << 29), ("2T", 2 << 40), ("0.5k", 512),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert verb._value("memory", "bytes", text) == size


@pytest.mark.parametrize("text", ["", "k", "x", "1x", "1.k", ".5k", "1,5k", "--1", "-5k", "1e3", "٣", "9" * 40, "1 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(verb.UsageError, match="flag --memory: .* is not a size"):
        verb._value("memory", "bytes", text)


def test_every_flag_has_a_property_or_a_reason() -> None:
    others = {"resources", "l3-cache-schema", "mem-bw-schema", "kernel-memory", "kernel-memory-tcp"}
    assert {row[0].split()[0] for row in verb.TABLE} == others | set(verb._PROPERTIES)


ORIGIN = Origin("r.json", {"/memory/swap": "--memory-swap", "/blockIO/weight": "--blkio-weight"})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SpecError("/linux/resources/memory/swap", "wrong", 5), "update c1: flag --memory-swap: wrong (it is 5)"),
        (
            SpecError("/memory/limit", "bad", 5, "do", "resources"),
            "update c1: r.json: /memory/limit: bad (it is 5); do",
        ),
        (UnsupportedError("/blockIO", "none yet"), "update c1: flag --blkio-weight: none yet"),
        (SpecError("", "no object"), "update c1: r.json: /: no object"),
    ],
)
def test_faults_name_the_flag_or_the_property(error: SpecError, told: str) -> None:
    found = ORIGIN.fault(error, "update c1")
    assert str(found) == told
    assert type(found) is type(error)


def test_failures_name_the_flag_or_the_property() -> None:
    error = CgroupError("write /f: no (/linux/resources/memory/swap asks for 5)")
    assert str(ORIGIN.failure(error, "update c1")) == "update c1: write /f: no (--memory-swap asks for 5)"
    other = ORIGIN.failure(OutOfMemory("write /f: no (/linux/resources/memory/limit asks for 5)"), "update c1")
    assert str(other) == "update c1: write /f: no (/memory/limit asks for 5)"
    assert isinstance(other, OutOfMemory)
