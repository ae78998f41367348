# SPDX-License-Identifier: Apache-2.0
"""The commands of ``pyoci pod``: run, stop, rm, ps, logs. Nothing here prints."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator

from pyoci import report
from pyoci.errors import PodError
from pyoci.pod import bundles, control, daemon, manifest, state, translate
from pyoci.pod.containers import Containers
from pyoci.pod.directory import Directory, names
from pyoci.pod.logs import Reader
from pyoci.pod.model import SANDBOX, Pod
from pyoci.pod.state import Event, PodState
from pyoci.pod.supervisor import Audience, Supervisor

ENDED = ("Succeeded", "Failed")
_SLACK = 16.0  # seconds after the grace period: at most 10 for KILL and 5 for the sandbox

Tell = Callable[[Event], None]


def run(runtime: Containers, path: str, name: str, backoff: float, audience: Audience) -> int:
    """Runs the pod of a manifest in this process, and removes it at its end. Returns 0 or 1, from Supervisor.run."""
    pod, directory, lock = _claim(runtime, path, name)
    try:
        return Supervisor(pod, directory, runtime, backoff, audience).run()
    finally:
        _remove(directory)
        os.close(lock)


def run_detached(runtime: Containers, path: str, name: str, backoff: float, wait: float) -> tuple[str, bool]:
    """Runs the pod of a manifest in another process. Returns its name, and whether it has started.

    wait: seconds to wait at most until every container has been started. After that the pod continues by itself, and
    the second value is False. Raises PodError if the pod failed within that time.
    """
    pod, directory, lock = _claim(runtime, path, name)
    with directory.opened() as fd:
        log = os.open("supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600, dir_fd=fd)
    try:
        up = daemon.detach(
            lambda audience: Supervisor(pod, directory, runtime, backoff, audience).run(), lock, log, wait
        )
    except PodError as error:
        raise PodError(f"pod {pod.name}: {error} ('pyoci pod logs' tells more, 'pyoci pod rm' removes it)") from error
    finally:
        os.close(log)
        os.close(lock)
    return pod.name, up


def stop(directory: Directory, seconds: int | None, tell: Tell) -> None:
    """Stops a pod and waits for its end. seconds: the grace period, or None for the pod's; tell: called with each
    event.

    Does nothing if the pod has ended. Raises PodError.
    """
    directory.require()
    client = control.connect(directory)
    if client is None:
        if condition(directory, directory.load()) not in ENDED:
            raise _lost(directory)
        return
    grace = directory.load()["grace"] if seconds is None else seconds
    if not _end(client, seconds, grace + _SLACK, tell):
        raise PodError(f"pod {directory.name}: its supervisor does not answer; 'pyoci pod rm --force' ends it")


def remove(runtime: Containers, directory: Directory, force: bool) -> None:
    """Removes a pod that has ended. force: also one that runs, or whose supervisor died. Raises PodError."""
    directory.require()
    lock = directory.take_lock()
    if lock < 0 and not force:
        raise PodError(f"pod {directory.name}: it runs; stop it first, or use --force")
    if lock < 0:
        _force_end(directory)
        if not directory.exists():
            return  # a pod in the foreground removes itself
        lock = directory.take_lock()
        if lock < 0:
            raise PodError(f"pod {directory.name}: its supervisor does not end")
    try:
        if not force and _phase(directory) not in ENDED:
            raise _lost(directory)
        found = {*runtime.of_pod(directory.name), *directory.containers()}
        for name in sorted(found, key=lambda name: (name == SANDBOX, name)):  # last: the others use its namespaces
            runtime.remove(translate.container_id(directory.name, name))
        _remove(directory)
        runtime.remove_group(translate.cgroup_parent(directory.name))
    finally:
        os.close(lock)


def states(root: str) -> list[PodState]:
    """Returns the states of all pods, each with its ``condition`` as phase. Raises PodError."""
    found = []
    for name in names(root):
        directory = Directory(root, name)
        try:
            document = directory.load()
            document["phase"] = condition(directory, document)
        except PodError:
            if not os.path.lexists(directory.path):
                continue
            document = state.unknown(name)
        found.append(document)
    return found


def condition(directory: Directory, document: PodState) -> str:
    """Returns the phase of a pod: Unknown if it has not ended and its supervisor is gone."""
    phase = document["phase"]
    return phase if phase in ENDED or directory.supervised() else "Unknown"


def logs(directory: Directory, container: str, follow: bool) -> Iterator[list[tuple[str, str, str, bytes]]]:
    """Yields batches of (time, container, stream, text), sorted by time within a batch.

    container: "" for all. follow: wait for more, until the pod's end. Raises PodError.
    """
    known = [one["name"] for one in directory.load()["containers"] if one["kind"] != "sandbox"]
    if container and container not in known:
        raise PodError(f"pod {directory.name}: has no container {container!r}, only {', '.join(known)}")
    with directory.opened("logs") as folder:
        readers = {name: Reader(folder, f"{name}.log") for name in ([container] if container else known)}
        # Watch before the first read, so that no line in between is missed.
        client = control.connect(directory) if follow else None
        if client is not None:
            client.send({"watch": True})
        while True:
            batch = [(when, name, stream, text) for name, log in readers.items() for when, stream, text in log.read()]
            # By time only: lines that were read together have the same time and keep their order.
            yield sorted(batch, key=lambda line: line[0])
            if client is None:
                return
            if client.next(None) is None:
                client.close()
                client = None  # once more, for the last lines
            else:
                client.drain()


def _remove(directory: Directory) -> None:
    """Removes the directory of a pod with its volumes and logs, after its mounts, so that nothing else is reached."""
    bundles.unmount_all(directory)
    directory.remove()


def _claim(runtime: Containers, path: str, name: str) -> tuple[Pod, Directory, int]:
    """Returns the checked manifest, and its directory with the descriptor of its lock. Raises PodError."""
    pod = manifest.load(path, name)
    if pod.ignored:
        report.warn(f"{path}: no effect on one machine, so ignored: {', '.join(pod.ignored)}")
    if os.geteuid() != 0:
        raise PodError(f"pod {pod.name}: only root can run a pod: it mounts overlays and makes control groups")
    directory = Directory(runtime.root.path, pod.name)
    return pod, directory, directory.claim(pod.text)


def _end(client: control.Client, seconds: int | None, limit: float, tell: Tell) -> bool:
    """Asks a supervisor to stop its pod. Returns whether it ended within ``limit`` seconds."""
    deadline = time.monotonic() + limit
    try:
        process = os.pidfd_open(client.supervisor())
    except ProcessLookupError:
        return True
    try:
        client.send({"stop": seconds})
        while (news := client.next(deadline)) is not None:
            if "event" in news:
                tell(news["event"])
        return _wait(process, deadline - time.monotonic())
    except TimeoutError:
        return False
    finally:
        client.close()
        os.close(process)


def _force_end(directory: Directory) -> None:
    """Stops a pod without a grace period. Kills a supervisor that does not obey."""
    client = control.connect(directory)
    if client is None:
        return
    process = os.pidfd_open(client.supervisor())
    try:
        if not _end(client, 0, _SLACK, lambda _: None):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            _wait(process, _SLACK)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _wait(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000))))


def _phase(directory: Directory) -> str:
    try:
        return directory.load()["phase"]
    except PodError:
        return "Unknown"


def _lost(directory: Directory) -> PodError:
    return PodError(
        f"pod {directory.name}: its supervisor is gone, its containers may still run; 'pyoci pod rm --force' removes it"
    )
