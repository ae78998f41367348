# SPDX-License-Identifier: Apache-2.0
"""One container of a pod as its supervisor sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyoci.pod.directory import now
from pyoci.pod.model import SANDBOX, Container
from pyoci.pod.termination import KILL, TERM, Backoff
from pyoci.pod.translate import container_id

WAITING, RUNNING, TERMINATED = "waiting", "running", "terminated"


@dataclass(slots=True)
class Member:
    """kind: sandbox, init or container. wake: monotonic time of the next start, None if it is due or not wanted.

    signalled: the last signal that the supervisor sent, 0 for none. code: exit status, or 128 + signal.
    """

    name: str
    kind: str
    id: str
    spec: Container | None
    backoff: Backoff
    status: str = WAITING
    pid: int = 0
    pidfd: int = -1
    code: int | None = None
    reason: str = ""
    restarts: int = 0
    starts: int = 0
    signalled: int = 0
    started: float | None = None
    finished: float | None = None
    wake: float | None = None

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self.status == RUNNING

    def begin(self, pid: int, pidfd: int) -> None:
        """It runs now."""
        self.restarts += 1 if self.starts else 0
        self.starts += 1
        self.status, self.pid, self.pidfd = RUNNING, pid, pidfd
        self.code, self.reason, self.signalled, self.wake = None, "", 0, None
        self.started, self.finished = now(), None

    def end(self, code: int, reason: str = "") -> None:
        """It has ended, and is not started again unless again() says so."""
        self.status, self.pid, self.pidfd = TERMINATED, 0, -1
        self.code, self.finished = code, now()
        self.reason = reason or ("Completed" if code == 0 else "Error")

    def again(self, at: float) -> None:
        """It is started again at the monotonic time ``at``."""
        self.status, self.wake = WAITING, at

    @property
    def ran(self) -> float:
        """Seconds from its last start to its end."""
        return (self.finished or 0.0) - (self.started or 0.0) if self.started else 0.0

    @property
    def peaceful(self) -> bool:
        """Whether it did what was asked: ended with 0, or by the TERM that we sent."""
        return self.code == 0 or (self.code == 128 + TERM and self.signalled == TERM)

    def document(self) -> dict[str, Any]:
        """For the state file."""
        words = ("name", "kind", "id", "status", "pid", "code", "reason", "restarts", "started", "finished")
        return {word: getattr(self, word) for word in words} | {"image": self.spec.image if self.spec else ""}


def make(pod_name: str, kind: str, spec: Container | None, backoff: float) -> Member:
    """A member that has not started. spec: None for the sandbox; backoff: seconds, see Backoff."""
    name = spec.name if spec else SANDBOX
    return Member(name, kind, container_id(pod_name, name), spec, Backoff(backoff))


def words(code: int, signalled: int) -> str:
    """An exit status for people."""
    if code == 128 + KILL and signalled == KILL:
        return f"exit status {code}: killed at the end of the grace period"
    if code == 128 + TERM and signalled == TERM:
        return f"exit status {code}: ended by TERM"
    if code > 128:
        return f"exit status {code}: signal {code - 128}"
    return f"exit status {code}"
