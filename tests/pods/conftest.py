# SPDX-License-Identifier: Apache-2.0
"""Pods of `pyoci pod`: each test has an image of busybox and a state root of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.plugin import busybox, pytest_runtest_call, runtime  # noqa: E402  (the path to it comes first)
from harness.pods import Pods  # noqa: E402
from harness.runtime import Runtime  # noqa: E402

__all__ = ["busybox", "pods", "pytest_runtest_call", "runtime"]


@pytest.fixture
def pods(runtime: Runtime) -> Iterator[Pods]:
    """Makes manifests and runs them."""
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} has no pods")
    yield Pods(runtime)
