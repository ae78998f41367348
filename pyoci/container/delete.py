# SPDX-License-Identifier: Apache-2.0
"""``delete``: removes a stopped container, or with force any container (runtime.md, "Delete")."""

from __future__ import annotations

import os

from pyoci import cgroup, native, report
from pyoci.container import hooks, processes
from pyoci.container.paths import Lock, Root, remove_directory
from pyoci.container.state import Remembered, State
from pyoci.errors import CgroupError, NotFound, PyociError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup import Cgroup

SIGKILL = 9
MOMENT = 100  # ms
WAIT = 10.0  # seconds until a killed process must be gone, and a creation must give up


def delete(root: Root, container_id: str, force: bool = False) -> None:
    """Deletes a container. A created one is killed first, as in runc; a running one only with ``force``.

    Failed poststop hooks cause warnings. Raises PyociError if the container is running; without ``force`` also
    NotFound, and StateError if the state is damaged. With ``force`` the link ``init`` then tells which process to kill.
    """
    try:
        directory = root.existing(container_id)
    except NotFound:
        if force:
            return
        raise
    except StateError:
        if not force:
            raise
        root.discard(container_id)
        return
    if force:
        _end(root, container_id)  # before the lock: a creation that holds it gives up when its init is gone
    with Lock(directory) as lock:
        if not lock.take(WAIT):
            raise PyociError(f"delete {container_id}: it is still being created; kill that pyoci first")
        if lock.gone():  # the holder of the lock deleted it, and the name may be another container now
            if force:
                return
            raise NotFound(container_id)
        try:
            state = _load(root, container_id)
        except StateError:
            if not force:
                raise
            _end(root, container_id)
            _remove_group(_remembered_group(directory), container_id)
            remove_directory(directory)
            return
        _delete(state, force)


def destroy(state: State) -> None:
    """Deletes a container that this process has created or was about to start, with force."""
    with Lock(state.directory) as lock:
        if not lock.take(WAIT):
            raise PyociError(f"delete {state.id}: somebody else has deleted it for {WAIT:.0f} s now")
        if not lock.gone():
            _delete(state, force=True)


def _load(root: Root, container_id: str) -> State:
    """Returns the state if it agrees with the link ``init``. Raises StateError."""
    state = State.load(root, container_id)
    remembered = Remembered.load(state.directory)
    if remembered is not None and remembered.contradicts(state):
        raise StateError(
            f"state of {container_id}: damaged: the link init has another process or cgroup; delete --force removes it"
        )
    return state


def _delete(state: State, force: bool) -> None:
    status = state.status()
    if status in ("running", "paused") and not force and not _about_to_end(state):
        raise PyociError(f"delete {state.id}: container is {status}; stop it first, or use --force")
    if status != "stopped":
        stop(state)
        if report.debugging:
            report.debug(f"delete {state.id}: ended init and all others")
    _remove_group(_group_of(state), state.id)
    if report.debugging:
        report.debug(f"delete {state.id}: removed the cgroup")
    if state.hooks.get("poststop"):
        hooks.run_all("poststop", state.hooks["poststop"], state.for_hooks("stopped"))
    remove_directory(state.directory)


def _about_to_end(state: State) -> bool:
    """Returns whether init ends within a moment, so that callers need not wait between SIGKILL and delete."""
    pidfd = state.open_init()
    if pidfd < 0:
        return True
    try:
        return native.wait_readable(pidfd, MOMENT)
    finally:
        os.close(pidfd)


def stop(state: State) -> None:
    """Kills init and everything in the container's cgroup, and waits for their end. Raises PyociError."""
    pidfd = state.open_init()
    if pidfd < 0:
        return
    try:
        _kill(pidfd, _group_of(state), state.id)
    finally:
        os.close(pidfd)
    group = _group_of(state)
    if state.shares_pid and group is not None:
        group.kill(SIGKILL)


def _kill(pidfd: int, group: Cgroup | None, container_id: str) -> None:
    if group is not None and group.unkillable():
        group.kill(SIGKILL)
    if not processes.kill_and_wait(pidfd, WAIT):
        raise PyociError(
            f"delete {container_id}: its init is still there {WAIT:.0f} s after SIGKILL (stuck in the kernel)"
        )


def _end(root: Root, container_id: str) -> None:
    """Kills init and the processes of the cgroup that the link ``init`` names, even if there is no valid state.

    If init is dead, _remove_group kills what it has left.
    """
    directory = root.container(container_id)
    remembered = Remembered.load(directory)
    if remembered is None or remembered.boot != processes.boot_id():
        return
    pidfd = processes.open_same(remembered.pid, remembered.started)
    if remembered.pid and pidfd < 0:
        return
    group = _remembered_group(directory)
    if pidfd >= 0:
        try:
            _kill(pidfd, group, container_id)
        finally:
            os.close(pidfd)
    if group is not None:
        group.kill(SIGKILL)


def _group_of(state: State) -> Cgroup | None:
    try:
        return state.group()
    except CgroupError:
        return None


def _remembered_group(directory: str) -> Cgroup | None:
    remembered = Remembered.load(directory)
    if remembered is None:
        return None
    try:
        path = cgroup.resolve(remembered.path, "")  # refuses paths that lead out of the hierarchy
        return cgroup.manage(cgroup.host(), path, remembered.manager)
    except PyociError:
        return None


def _remove_group(group: Cgroup | None, container_id: str) -> None:
    if group is None:
        return
    try:
        group.delete(kill=True)
    except CgroupError as error:
        raise PyociError(f"delete {container_id}: {error}") from error
