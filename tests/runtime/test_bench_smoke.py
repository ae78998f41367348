# SPDX-License-Identifier: Apache-2.0
"""`make bench ARGS=--smoke` measures every row with every tool and takes everything away. No time is judged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.runtime import REPOSITORY

ALL = {"pyoci", "runc", "crun"}
WITH_FLOOR = ALL | {"floor"}
BESIDE = ("create", "start", "state", "exec true", "kill", "delete")
ROWS = {
    **{("verbs", name): ALL for name in ("create", "start", "state", "kill", "delete", "five verbs")},
    ("verbs", "exec true"): WITH_FLOOR,
    ("verbs", "run true"): WITH_FLOOR,
    ("verbs", "a static program"): {"floor"},
    **{
        ("seccomp", f"{verb}, {how}"): ALL
        for verb in ("create", "run true")
        for how in ("no filter", "podman's filter, cached", "podman's filter, cold")
    },
    **{("pods", name): ALL for name in ("create in a pod", "run true in a pod")},
    **{("memory", f"peak of {verb}"): ALL for verb in ("create", "start", "state", "exec", "kill", "delete")},
    ("memory", "peak of run true, podman's filter, cold"): ALL,
    ("memory", "private, created container"): ALL,
    ("memory", "private, pause"): ALL,
    ("memory", "resident (VmRSS), pause"): ALL,
    **{("scale", f"{what}, {count} others"): ALL for what in (*BESIDE, "list", "five verbs") for count in (3, 10)},
    **{("scale", f"4 containers {how}"): ALL for how in ("in a row", "at once")},
    **{("engines", name): ALL for name in ("podman run true", "ctr run true")},
    **{("engines", f"CRI pod to {step}"): ALL for step in ("start", "exit", "removal")},
}


def traces(mark: str) -> list[str]:
    """What a run left on the machine: temporary directories, control groups, mounts."""
    found = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{mark}-*")]
    for controller in host.controllers():
        found += [str(path) for path in (host.CGROUP_ROOT / controller).glob(f"{mark}*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if f"{mark}-" in line]


@pytest.fixture(name="smoke", scope="module")
def smoke_run() -> dict[str, Any]:
    missing = [name for name in ("runc", "crun", "podman", "containerd", "ctr") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    processes = set(inspection.descendants(os.getpid()))
    with tempfile.TemporaryDirectory() as directory:
        out, err, target = (Path(directory) / name for name in ("out", "err", "results.json"))
        argv = ["make", "-C", str(REPOSITORY), "-s", "bench", f"ARGS=--smoke --json {target}"]
        with open(out, "wb") as out_file, open(err, "wb") as err_file:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file, timeout=300)
        assert done.returncode == 0, out.read_text()[-2000:] + err.read_text()[-2000:]
        results: dict[str, Any] = json.loads(target.read_text())
        results["text"] = out.read_text()
    results["left"] = traces(results["mark"])
    results["running"] = [pid for pid in inspection.descendants(os.getpid()) if pid not in processes]
    return results


def test_every_row_is_there_with_every_tool(smoke: dict[str, Any]) -> None:
    found = {(row["group"], row["name"]): set(row["samples"]) for row in smoke["rows"]}
    assert found == ROWS
    assert not smoke["skipped"]


def test_every_sample_was_measured(smoke: dict[str, Any]) -> None:
    for row in smoke["rows"]:
        for tool, samples in row["samples"].items():
            assert samples and all(sample > 0 for sample in samples), (row["name"], tool)


def test_table_shows_every_row(smoke: dict[str, Any]) -> None:
    lines = smoke["text"].splitlines()
    for _, name in ROWS:
        assert any(line.startswith(f"{name}  ") for line in lines), name


def test_growth_is_shown_for_every_verb(smoke: dict[str, Any]) -> None:
    lines = smoke["text"].splitlines()
    for verb in (*BESIDE, "list", "five verbs"):
        (line,) = [line for line in lines if line.startswith(f"{verb}, 10 / 3 others  ")]
        assert all(float(ratio) > 0 for ratio in line.split()[-3:]), line


def test_nothing_is_left(smoke: dict[str, Any]) -> None:
    assert smoke["mark"]
    assert smoke["left"] == []
    assert smoke["running"] == []
