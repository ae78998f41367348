# SPDX-License-Identifier: Apache-2.0
"""Work in a process of its own: its result, its errors, its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci.errors import OutOfMemory, PodError
from pyoci.pod.jobs import Job, readable


def raises(error: Exception) -> Callable[[], str]:
    def work() -> str:
        raise error

    return work


def forever() -> str:
    time.sleep(100)
    return ""


@pytest.mark.parametrize(("value", "text"), [("42", "42"), (None, ""), ("x" * 10000, "x" * 4091)])
def test_result(value: str | None, text: str) -> None:
    job = Job(lambda: value, 10)
    assert readable(job.pidfd, 10)
    assert job.result() == text


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PodError("what it says"), PodError, "what it says"),
        (OutOfMemory("no memory"), OutOfMemory, "no memory"),
        (PermissionError(13, "x", "/some/file"), PodError, "/some/file: permission denied"),
        (OSError(28, "x"), PodError, "no space left on device"),
        (ValueError("odd"), PodError, "internal error: ValueError: odd"),
    ],
)
def test_error(error: Exception, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        Job(raises(error), 10).result()
    assert str(caught.value) == words


def test_killed() -> None:
    job = Job(forever, 100)
    assert not readable(job.pidfd, 0.05)
    job.kill()
    with pytest.raises(PodError, match="^ended without a message, by signal 9$"):
        job.result()


def test_deadline() -> None:
    job = Job(forever, 0.2)
    job.end_if_late(job.deadline - 0.001)
    assert not readable(job.pidfd, 0.1)
    job.end_if_late(job.deadline)
    assert readable(job.pidfd, 5)
    with pytest.raises(PodError, match="^not done within 0.2 s$"):
        job.result()


def test_it_ends_with_its_parent() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            job = Job(forever, 100)
            os.write(writer, str(job.pid).encode())
        finally:
            os._exit(0)
    pid = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    os.waitpid(child, 0)
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_signal_to_it_is_not_its_parents() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    before = signal.set_wakeup_fd(writer)
    try:
        job = Job(lambda: str(os.kill(os.getpid(), signal.SIGUSR1)), 10)
        assert job.result() == "None"
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, handler)
        os.close(reader)
        os.close(writer)
