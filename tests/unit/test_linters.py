# SPDX-License-Identifier: Apache-2.0
"""The linters, as tests: what `make check` says is said here too, one test a linter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("target", ["check-ruff", "check-mypy", "check-c", "check-aarch64", "check-format"])
def test_linter_is_silent(target: str) -> None:
    # An outer make hands its own flags and job pipes down; this one is on its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--silent", target],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
