# SPDX-License-Identifier: Apache-2.0
"""pyoci.container.paths.Lock: the wait for one that another process holds, also where signals are held."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.container.paths import Lock


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """A descriptor with the lock of the directory."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["open", "held"])
def alarm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once with SIGALRM as it is, and once blocked and one waiting, as after a foreground `run`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM] if request.param == "held" else [])
    if request.param == "held":
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handler = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.pthread_sigmask(signal.SIG_SETMASK, before) == mask


@pytest.mark.usefixtures("alarm", "holder")
def test_the_wait_ends(tmp_path: Path) -> None:
    started = time.monotonic()
    with Lock(str(tmp_path)) as lock:
        assert not lock.take(0.3)
    assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.usefixtures("alarm")
def test_the_lock_is_given_back_meanwhile(tmp_path: Path, holder: int) -> None:
    timer = threading.Timer(0.2, fcntl.flock, (holder, fcntl.LOCK_UN))
    timer.start()
    try:
        with Lock(str(tmp_path)) as lock:
            assert lock.take(20)
    finally:
        timer.join()


@pytest.mark.usefixtures("holder")
def test_without_a_wait(tmp_path: Path) -> None:
    with Lock(str(tmp_path)) as lock:
        assert not lock.take()
