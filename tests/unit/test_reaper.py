# SPDX-License-Identifier: Apache-2.0
"""The harness does not take one process for another that had its number before."""

from __future__ import annotations

import subprocess
import time

import pytest
from harness import reaper


def test_status_of_an_earlier_process_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 0.3; exit 7"])
    monkeypatch.setitem(reaper.STATUS, child.pid, 0)
    begin = time.monotonic()
    assert reaper.wait_for_call(child, 5) == 7
    assert time.monotonic() - begin > 0.2
    assert child.pid not in reaper.STATUS


def test_status_of_what_was_reaped_is_kept() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
    assert reaper.wait_for_end(child.pid, 5)
    assert reaper.wait_for_end(child.pid, 5)
    assert reaper.status(child.pid, 1) == 7 << 8
    child.wait()
