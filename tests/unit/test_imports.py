# SPDX-License-Identifier: Apache-2.0
"""The verbs that engines call import nothing that is on the list in docs/design.md.

Imports are the cost of a short process: argparse alone takes as long as a bare interpreter. Here each verb is
imported, and called to its first error, without root; tests/runtime/test_imported.py has real containers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VERBS = ("create", "start", "state", "kill", "delete", "exec")
PATHS = [str(REPOSITORY / "build/lib"), sysconfig.get_path("purelib")]
# The interpreter under the virtual environment, so that nothing of the environment is added.
PYTHON = os.path.realpath(sys.executable)


def banned() -> set[str]:
    """The modules that docs/design.md forbids on the hot path: the quoted lines after "may not import"."""
    text = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")
    found = re.search(r"may not import `([^`]+)`", text)
    assert found, "docs/design.md has no list of imports any more"
    return set(found[1].split())


def imported_by(code: str, *arguments: str) -> set[str]:
    """Names in sys.modules after code has run, in an interpreter of its own, isolated and without site."""
    program = f"import sys\nsys.path[1:1] = {PATHS!r}\n{code}\nprint('modules:', *sys.modules)"
    done = subprocess.run(
        [PYTHON, "-IS", "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "internal error" not in done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("modules:").split())


def test_the_list_is_read() -> None:
    assert {"argparse", "re", "json", "typing", "subprocess", "jsonschema"} <= banned()


def test_a_banned_import_is_seen() -> None:
    assert imported_by("import argparse") & banned() >= {"argparse", "re"}


@pytest.mark.parametrize("verb", VERBS)
def test_import_of_verb(verb: str) -> None:
    found = imported_by(f"import pyoci.cli.main, pyoci.cli.{verb}")
    assert f"pyoci.cli.{verb}" in found
    assert found & banned() == set()


@pytest.mark.parametrize("verb", VERBS)
def test_call_of_verb_that_fails(verb: str, tmp_path: Path) -> None:
    """No such container, or no such bundle: the way through flags, settings and the state root."""
    words = {"create": ["--bundle", str(tmp_path / "bundle"), "none"], "kill": ["none", "9"], "exec": ["none", "true"]}
    code = "from pyoci.cli.main import main\nassert main(sys.argv[1:]) == 1"
    found = imported_by(code, "--root", str(tmp_path / "root"), verb, *words.get(verb, ["none"]))
    assert f"pyoci.cli.{verb}" in found
    assert found & banned() == set()
