# SPDX-License-Identifier: Apache-2.0
"""A container of a pod, from the view of its supervisor."""

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
    """kind: sandbox, init or container; job: the work that another process does with it, or None; starting: whether
    that is its start.

    wake: monotonic time of the next start, None if it is due or not wanted; signalled: the last signal that the
    supervisor sent, 0 for none; code: exit status, or 128 + signal; ran: seconds from the last start to its end.
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
        """Returns whether it has a process."""
        return self.status == RUNNING

    @property
    def done(self) -> bool:
        """Returns whether it has ended and has no job."""
        return self.status == TERMINATED and self.job is None

    def due(self, at: float) -> bool:
        """Returns whether it is to be started now."""
        return self.status == WAITING and self.job is None and (self.wake or 0.0) <= at

    def begin(self, pid: int, pidfd: int) -> None:
        """Records that it runs."""
        self.restarts += 1 if self.starts else 0
        self.starts += 1
        self.status, self.pid, self.pidfd = RUNNING, pid, pidfd
        self.code, self.reason, self.signalled, self.wake = None, "", 0, None
        self.started, self.finished, self._began = now(), None, time.monotonic()

    def end(self, code: int, reason: str = "") -> None:
        """Records that it has ended. Only again() schedules another start."""
        self.status, self.pid, self.pidfd = TERMINATED, 0, -1
        self.code, self.finished, self.ran = code, now(), time.monotonic() - self._began
        self.reason = reason or ("Completed" if code == 0 else "Error")

    def again(self, at: float) -> None:
        """Schedules another start at the monotonic time ``at``."""
        self.status, self.wake = WAITING, at

    @property
    def peaceful(self) -> bool:
        """Returns whether it ended well: with 0, or by the TERM that we sent."""
        return self.code == 0 or (self.code == 128 + TERM and self.signalled == TERM)

    def describe_end(self, killed: int = 0) -> str:
        """Returns how it ended, as text. killed: how many of its processes the kernel killed at the memory limit."""
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
        """Returns its part of the state."""
        return {
            "name": self.name, "kind": self.kind, "id": self.id, "image": self.spec.image if self.spec else "",
            "status": self.status, "pid": self.pid, "code": self.code, "reason": self.reason, "restarts": self.restarts,
            "started": self.started, "finished": self.finished,
        }  # fmt: skip


def make(pod_name: str, kind: str, spec: Container | None, backoff: float) -> Member:
    """Returns a member that has not started. spec: None for the sandbox; backoff: seconds, see Backoff."""
    name = spec.name if spec else SANDBOX
    return Member(name, kind, container_id(pod_name, name), spec, Backoff(backoff))


def reason_of(code: int, signalled: int, killed: int) -> str:
    """Returns the reason of an end, "" for the usual ones.

    It is out of memory if the kernel killed ``killed`` processes at the memory limit, and the container ended by a KILL
    that the supervisor did not send (or a shell reports that for its child).
    """
    return OOM_KILLED if killed and code == 128 + KILL and signalled != KILL else ""
