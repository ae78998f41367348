# SPDX-License-Identifier: Apache-2.0
"""`.ci/run` fails when a step fails, when a test fails, and when none ran. `make` is replaced here: what it does is the
subject of every other test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# what `make` and `make test` print and how they end: whether that is good
OUTCOMES = {
    "all passed": ("true", "echo '5 passed, 1 skipped in 2.10s'", True),
    "many passed": ("true", "echo '===== 1205 passed in 338.00s (0:05:38) ====='", True),
    "one failed": ("true", "echo '1 failed, 5 passed in 2.10s'; exit 2", False),
    "a linter complains, as a test": (
        "true",
        "echo 'FAILED test_linters.py'; echo '1 failed, 9 passed in 2s'; exit 2",
        False,
    ),
    "none ran": ("true", "echo 'no tests ran in 0.01s'", False),
    "all skipped": ("true", "echo '7 skipped in 0.01s'", False),
    "ended early": ("true", "echo '5 passed in 2.10s'; echo 'make: *** [Makefile:1: test] Error 2'", False),
    "nothing said": ("true", "true", False),
    "not built": ("exit 2", "echo '5 passed in 2.10s'", False),
}


@pytest.mark.skipif(os.geteuid() != 0, reason=".ci/run is for root, and says so")
@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(tmp_path: Path, name: str) -> None:
    build, test, good = OUTCOMES[name]
    make = tmp_path / "make"
    make.write_text(f'#!/bin/bash\ncase "$1" in "") {build} ;; test) {test} ;; deps-test) true ;; *) exit 3 ;; esac\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([REPOSITORY / ".ci/run"], env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode == 0) == good, done
