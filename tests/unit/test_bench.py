# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench`: quantiles, ratios, the table, and the seccomp profile that it measures with."""

from __future__ import annotations

import json
import random
import statistics

import pytest
from bench import profile, stats, table


def test_quantile_lies_between_two_neighbours() -> None:
    ordered = [10, 20, 30, 40]
    assert stats.quantile(ordered, 0) == 10
    assert stats.quantile(ordered, 0.5) == 25
    assert stats.quantile(ordered, 0.95) == pytest.approx(38.5)
    assert stats.quantile(ordered, 1) == 40
    assert stats.quantile([7], 0.95) == 7


def test_no_samples_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        stats.summary([])


def test_summary_agrees_with_the_standard_library() -> None:
    samples = [random.Random(number).randrange(1_000_000) for number in range(51)]
    found = stats.summary(samples)
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    assert [found.first_quartile, found.median, found.third_quartile] == pytest.approx(quartiles)
    assert found.p95 == pytest.approx(statistics.quantiles(samples, n=20, method="inclusive")[-1])
    assert (found.n, found.least) == (51, min(samples))
    assert found.iqr == pytest.approx(quartiles[2] - quartiles[0])


def test_one_outlier_does_not_move_the_ratio() -> None:
    row = stats.Row("verbs", "state")
    for ours, theirs in ((5, 10), (5, 10), (5, 10), (5, 10), (500_000, 10)):
        row.add("pyoci", ours)
        row.add("runc", theirs)
    assert row.ratio("pyoci", "runc") == 0.5


def test_ratio_to_what_was_not_measured_is_none() -> None:
    row = stats.Row("verbs", "state")
    row.add("pyoci", 5)
    assert row.ratio("pyoci", "crun") is None
    row.add("crun", 0)
    assert row.ratio("pyoci", "crun") is None


def test_rows_keep_their_order() -> None:
    results = stats.Results()
    assert results.row("verbs", "create") is results.row("verbs", "create")
    results.row("memory", "peak", "KiB")
    assert list(results.rows) == [("verbs", "create"), ("memory", "peak")]


def filled() -> stats.Results:
    results = stats.Results()
    for tool, spent in (("pyoci", 2_000_000), ("runc", 8_000_000), ("floor", 500_000)):
        results.row("verbs", "create").add(tool, spent)
    results.row("memory", "peak", "KiB").add("pyoci", 300)
    results.skipped["podman run"] = "podman is not installed"
    results.facts["rounds"] = 1
    return results


def test_json_holds_everything() -> None:
    document = json.loads(json.dumps(filled().document()))
    again = stats.Results.of(document)
    assert again.document() == filled().document()
    assert again.row("verbs", "create").samples["runc"] == [8_000_000]


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="make bench"):
        stats.Results.of({"format": 2})


def test_table_shows_times_in_ms_and_memory_in_kib() -> None:
    results = filled()
    create, peak = results.rows.values()
    assert table.medians(create) == ["create", "1", "2.00", "8.00", "", "0.50", "0.25", "", "ms"]
    assert table.medians(peak) == ["peak", "1", "300", "", "", "", "", "", "KiB"]
    assert table.spreads(create)[0] == ["create", "pyoci", "1", "2.00", "2.00", "0.00", "2.00", "ms"]
    text = table.text(results)
    assert "left out: podman run: podman is not installed" in text
    assert "rounds: 1" in text


def test_columns_are_aligned() -> None:
    assert table.aligned([["a", "1"], ["bbb", "22"]]) == ["a     1", "bbb  22"]


def test_growth_is_the_ratio_of_the_most_to_the_fewest_others() -> None:
    results = stats.Results()
    for count, spent in (("10", 4_000_000), ("100", 7_000_000), ("1,000", 5_000_000)):
        results.row("scale", f"create, {count} others").add("pyoci", spent)
    results.row("scale", "100 containers in a row").add("pyoci", 1)
    assert table.growth(results) == [["", "pyoci", "runc", "crun"], ["create, 1,000 / 10 others", "1.25", "", ""]]
    assert "create, 1,000 / 10 others   1.25" in table.text(results)
    assert table.growth(filled()) == []


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["sync_file_range2"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["ppc64le"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    ],
}


def names(capabilities: list[str]) -> list[tuple[str, str]]:
    resolved = profile.resolve(PROFILE, "x86_64", capabilities)
    assert resolved["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    return [(rule["names"][0], rule["action"]) for rule in resolved["syscalls"]]


def test_profile_follows_architecture_and_capabilities() -> None:
    allow, errno = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
    assert names([]) == [("read", allow), ("mount", errno), ("arch_prctl", allow)]
    assert names(["CAP_SYS_ADMIN"]) == [("read", allow), ("mount", allow), ("arch_prctl", allow)]


def test_profile_has_no_empty_parts() -> None:
    rules = profile.resolve(PROFILE, "x86_64", [])["syscalls"]
    assert rules[0] == {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
    assert rules[1]["errnoRet"] == 1
