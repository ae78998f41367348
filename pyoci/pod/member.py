# SPDX-License-Identifier: Apache-2.0
"""One container of a pod as its supervisor sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pyoci.container.state import now
from pyoci.pod.jobs import Job
from pyoci.pod.model import SANDBOX, Container
from pyoci.pod.state import ContainerState
from pyoci.pod.termination import KILL, TERM, Backoff
from pyoci.pod.translate import container_id

WAITING, RUNNING, TERMINATED = "waiting", "running", "terminated"
OOM_KILLED = "OOMKilled"  # Kubernetes' word, ContainerStateTerminated.reason


@dataclass(slots=True)
class Member:
    """kind: sandbox, init or container. job: what is being done with it, in another process; None for nothing.
    starting: whether that is its start.

    wake: monotonic time of the next start, None if it is due or not wanted. signalled: the last signal that the
    supervisor sent, 0 for none. code: exit status, or 128 + signal. ran: seconds from the last start to its end.
    """

    name: str
    kind: str
    id: str
    spec: Container | None
    backoff: Backoff
    status: str = WAITING
    job: Job | None = None
    starting: bool = False
    pid: int = 0
    pidfd: int = -1
    code: int | None = None
    reason: str = ""
    restarts: int = 0
    starts: int = 0
    signalled: int = 0
    started: str | None = None
    finished: str | None = None
    ran: float = 0.0
    wake: float | None = None
    _began: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self.status == RUNNING

    @property
    def done(self) -> bool:
        """Whether it has ended, and nothing is being done with it any more."""
        return self.status == TERMINATED and self.job is None

    def due(self, at: float) -> bool:
        """Whether it is to be started now."""
        return self.status == WAITING and self.job is None and (self.wake or 0.0) <= at

    def begin(self, pid: int, pidfd: int) -> None:
        """It runs now."""
        self.restarts += 1 if self.starts else 0
        self.starts += 1
        self.status, self.pid, self.pidfd = RUNNING, pid, pidfd
        self.code, self.reason, self.signalled, self.wake = None, "", 0, None
        self.started, self.finished, self._began = now(), None, time.monotonic()

    def end(self, code: int, reason: str = "") -> None:
        """It has ended, and is not started again unless again() says so."""
        self.status, self.pid, self.pidfd = TERMINATED, 0, -1
        self.code, self.finished, self.ran = code, now(), time.monotonic() - self._began
        self.reason = reason or ("Completed" if code == 0 else "Error")

    def again(self, at: float) -> None:
        """It is started again at the monotonic time ``at``."""
        self.status, self.wake = WAITING, at

    @property
    def peaceful(self) -> bool:
        """Whether it did what was asked: ended with 0, or by the TERM that we sent."""
        return self.code == 0 or (self.code == 128 + TERM and self.signalled == TERM)

    def words(self, killed: int = 0) -> str:
        """How it ended, for people. killed: how many of its processes the kernel killed for want of memory."""
        text = f"exit status {self.code}"
        if self.reason == OOM_KILLED:
            return f"{text}: out of memory"
        if killed:
            return f"{text}; the kernel killed {killed} of its processes before, out of memory"
        if self.code == 128 + KILL and self.signalled == KILL:
            return f"{text}: killed at the end of the grace period"
        if self.code == 128 + TERM and self.signalled == TERM:
            return f"{text}: ended by TERM"
        return text if self.code is None or self.code <= 128 else f"{text}: signal {self.code - 128}"

    def document(self) -> ContainerState:
        """For the state file."""
        return {
            "name": self.name, "kind": self.kind, "id": self.id, "image": self.spec.image if self.spec else "",
            "status": self.status, "pid": self.pid, "code": self.code, "reason": self.reason, "restarts": self.restarts,
            "started": self.started, "finished": self.finished,
        }  # fmt: skip


def make(pod_name: str, kind: str, spec: Container | None, backoff: float) -> Member:
    """A member that has not started. spec: None for the sandbox; backoff: seconds, see Backoff."""
    name = spec.name if spec else SANDBOX
    return Member(name, kind, container_id(pod_name, name), spec, Backoff(backoff))


def reason_of(code: int, signalled: int, killed: int) -> str:
    """The reason of an end, "" for the usual ones: out of memory if the kernel killed ``killed`` processes for it and
    the end is by KILL (or says so, as a shell of its child), and the KILL is not the supervisor's.
    """
    return OOM_KILLED if killed and code == 128 + KILL and signalled != KILL else ""
