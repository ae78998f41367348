# SPDX-License-Identifier: Apache-2.0
"""Creates, starts, kills and removes containers of a pod, each by a job (jobs.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from pyoci.container import host
from pyoci.pod import bundles, capabilities, translate, volumes
from pyoci.pod.containers import Containers, reap, reap_strangers
from pyoci.pod.directory import Directory
from pyoci.pod.jobs import Job, readable
from pyoci.pod.loop import Loop
from pyoci.pod.member import Member
from pyoci.pod.model import Pod
from pyoci.pod.output import Output, Tell

START = 60.0  # seconds for a start; pyoci's own waits for init are shorter
REMOVE = 600.0  # seconds for a removal; a container may have written millions of files
DEAD = 10.0  # seconds in which the kernel must end a process after KILL

Then = Callable[[Member, Job], None]
"""Called when a job is over, to take its result."""


class Runner:
    """The containers of one pod, with their bundles and pipes. loop: reports ended jobs and readable pipes."""

    def __init__(self, pod: Pod, directory: Directory, containers: Containers, loop: Loop, tell: Tell) -> None:
        """tell: called with each line that a container prints."""
        self._pod, self._directory, self._containers, self._loop = pod, directory, containers, loop
        self._output = Output(directory, tell)
        self._facts = translate.Facts(capabilities.own(), host.unified_cgroups())
        self._places: translate.Places | None = None

    def prepare(self) -> None:
        """Creates what the containers share. Raises PyociError, OSError."""
        self._places = volumes.make(self._pod, self._directory)

    def start(self, one: Member, sandbox_pid: int, then: Then) -> None:
        """Begins to create and start a container. The result of the job is the PID of its init. Raises OSError."""
        opened: list[int] = []
        try:
            opened.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
            for stream in ("stdout", "stderr"):
                reader, writer = os.pipe2(os.O_CLOEXEC)
                opened.append(writer)
                self._output.add(one.name, stream, reader)
                self._loop.watch(reader, self._readable)
            null, out, errors = opened
            self._work(one, partial(self._launch, one, sandbox_pid, (null, out, errors)), START, then)
        finally:
            for fd in opened:
                os.close(fd)

    def kill(self, one: Member, then: Then) -> None:
        """Begins to kill every process of a container, even if it is frozen. Raises OSError."""
        self._work(one, lambda: self._containers.kill(one.id), REMOVE, then)

    def remove(self, one: Member, then: Then) -> None:
        """Begins to remove a container, and what it wrote to its root file system. Raises OSError."""

        def over(one: Member, job: Job) -> None:
            for fd in self._output.last(one.name):
                self._loop.forget(fd)
            then(one, job)

        self._work(one, lambda: self._remove(one), REMOVE, over)

    def killed_for_memory(self, one: Member) -> int:
        """Returns how many processes of a container the kernel has killed at the memory limit.

        Call it before the removal.
        """
        return self._containers.oom_kills(one.id)

    def discard(self, one: Member) -> int | None:
        """Removes a container at once in this process, even if a job is running. Returns the exit status of an init
        that was running, or None. Raises PyociError, OSError.
        """
        if one.job:
            one.job.kill()
            if readable(one.job.pidfd, DEAD):
                self._loop.forget(one.job.pidfd)
                one.job.dismiss()
                one.job = None
        self._containers.remove(one.id)
        code = None
        if one.running and readable(one.pidfd, DEAD):
            code = reap(one.pidfd)
            os.close(one.pidfd)
        self._output.last(one.name)
        bundles.remove(self._directory, one.name)
        return code

    def clean(self, members: list[Member]) -> None:
        """Reaps children that killed jobs have left to this process, and that belong to none of ``members``."""
        reap_strangers({one.pid for one in members} | {one.job.pid for one in members if one.job})

    def finish(self) -> None:
        """Removes what the containers shared. Raises PyociError."""
        bundles.unmount_all(self._directory)
        self._containers.remove_group(translate.cgroup_parent(self._pod.name))

    def close(self) -> None:
        """Closes the pipes and the logs."""
        self._output.close()

    def _launch(self, one: Member, sandbox_pid: int, stdio: tuple[int, int, int]) -> str:
        assert self._places is not None
        if one.spec is None:
            config = translate.sandbox(self._pod, self._facts, self._places)
            image = bundles.sandbox_image(self._directory)
        else:
            config = translate.peer(self._pod, one.spec, sandbox_pid, self._facts, self._places)
            image = one.spec.image
        bundle = bundles.make(self._directory, one.name, image, config)
        return str(self._containers.launch(one.id, bundle, stdio))

    def _remove(self, one: Member) -> None:
        self._containers.remove(one.id)
        bundles.remove(self._directory, one.name)

    def _work(self, one: Member, work: Callable[[], str | None], limit: float, then: Then) -> None:
        job = one.job = Job(work, limit)

        def over(fd: int) -> None:
            self._loop.forget(fd)
            one.job = None
            then(one, job)

        self._loop.watch(job.pidfd, over)

    def _readable(self, fd: int) -> None:
        if not self._output.read(fd):
            self._loop.forget(fd)
