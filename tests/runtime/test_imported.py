# SPDX-License-Identifier: Apache-2.0
"""The life of a container imports nothing that docs/design.md forbids on the hot path (see unit/test_imports.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from harness.runtime import REPOSITORY, TIMEOUT, Runtime

PROGRAM = """import sys
sys.path[1:1] = {paths!r}
from pyoci.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def banned() -> set[str]:
    """The list of docs/design.md."""
    found = re.search(r"may not import `([^`]+)`", (REPOSITORY / "docs/design.md").read_text(encoding="utf-8"))
    assert found
    return set(found[1].split())


def imported(runtime: Runtime, *arguments: str | Path) -> set[str]:
    """What one call imports, as -X importtime tells it; the call must succeed."""
    program = PROGRAM.format(paths=[str(REPOSITORY / "build/lib"), sysconfig.get_path("purelib")])
    argv = [os.path.realpath(sys.executable), "-IS", "-X", "importtime", "-c", program]
    log = runtime.tmp / "imports"
    with open(log, "wb") as out:
        done = subprocess.run(
            [*argv, "--root", runtime.root, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    text = log.read_text()
    assert done.returncode == 0, text
    names = {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}
    assert "pyoci.cli.main" in names
    return names


def test_a_whole_life(runtime: Runtime) -> None:
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} is not written in Python")
    bundle = runtime.bundle().args("/bin/sleep", "100").save()
    handle = runtime.container(bundle)
    calls: dict[str, list[str | Path]] = {
        "create": ["--bundle", bundle.path, "--pid-file", bundle.path / "pid", handle.id],
        "start": [handle.id],
        "state": [handle.id],
        "exec": [handle.id, "/bin/true"],
        "kill": [handle.id, "KILL"],
    }
    found = {verb: imported(runtime, verb, *words) & banned() for verb, words in calls.items()}
    handle.pid = int((bundle.path / "pid").read_text())
    handle.wait()
    found["delete"] = imported(runtime, "delete", handle.id) & banned()
    assert found == dict.fromkeys(found, set())
