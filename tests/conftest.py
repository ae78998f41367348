# SPDX-License-Identifier: Apache-2.0
"""What all tests need of the machine: a build that is not older than its sources, and root outside tests/unit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import host

REPOSITORY = Path(__file__).resolve().parents[1]
BUILT = REPOSITORY / "build/.built"


def newest_source() -> Path:
    """The file of the package, the C programs or the schemas that was changed last."""
    files = (
        path
        for room in ("pyoci", "csrc", "schema")
        for path in (REPOSITORY / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def pytest_configure() -> None:
    """Tests import build/lib and run build/pyoci: without them nothing is tested."""
    if not BUILT.exists():
        pytest.exit("build/ is not there: run make", returncode=3)
    if os.environ.get("PYOCI_TEST_CGROUP") == "v2" and os.geteuid() == 0 and not host.unified():
        host.leave_cgroup_v1()


def pytest_report_header() -> str:
    """Says when the build is not that of the sources."""
    newest = newest_source()
    if newest.stat().st_mtime_ns > BUILT.stat().st_mtime_ns:
        return f"build/ is older than {newest.relative_to(REPOSITORY)}: run make"
    return "build/ is up to date"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real namespaces, control groups and mounts need root; tests/unit does not."""
    if os.geteuid() == 0:
        return
    unit = REPOSITORY / "tests/unit"
    for item in items:
        if not item.path.is_relative_to(unit):
            item.add_marker(pytest.mark.skip(reason="makes real containers: needs root"))
