# SPDX-License-Identifier: Apache-2.0
"""Programs in C that tests run inside a container: static, so that any root file system will do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build/tests"


def compiled(source: Path) -> Path:
    """The program of one C file below tests/, which is compiled if it is newer."""
    program = BUILD / source.stem
    if not program.exists() or program.stat().st_mtime_ns < source.stat().st_mtime_ns:
        BUILD.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(f".{os.getpid()}")
        flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
        subprocess.run(["gcc", *flags, source, "-o", partial], check=True)
        partial.replace(program)
    return program
