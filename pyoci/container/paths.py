# SPDX-License-Identifier: Apache-2.0
"""The directories of states: ROOT/ID. Both are closed to other users."""

from __future__ import annotations

import os
import stat

from pyoci.errors import AlreadyExists, InvalidId, NotFound, PyociError, StateError, reason

ID_MAX = 255  # the longest name of a file (NAME_MAX)
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(container_id: str) -> str:
    """Returns the ID if it may be a file name. The allowed characters are those of runc. Raises InvalidId."""
    if not container_id:
        raise InvalidId("container ID is empty; give a name of letters, digits and _ + - .")
    if len(container_id) > ID_MAX:
        raise InvalidId(f"container ID {container_id[:24]}... has {len(container_id)} characters; {ID_MAX} are allowed")
    if container_id in (".", "..") or not _ALLOWED.issuperset(container_id):
        raise InvalidId(f"container ID {container_id!r} is not allowed; use letters, digits and _ + - .")
    return container_id


class Root:
    """The state root. It is created by ``new``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def container(self, container_id: str) -> str:
        """Returns the directory of a container's state, which need not exist. Raises InvalidId."""
        return f"{self.path}/{check_id(container_id)}"

    def existing(self, container_id: str) -> str:
        """Returns the directory of an existing container. Raises InvalidId, NotFound, and StateError for a symlink or a
        file, which is not pyoci's."""
        directory = self.container(container_id)
        try:
            kind = stat.S_IFMT(os.lstat(directory).st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(container_id) from error
        if kind != stat.S_IFDIR:
            what = "a symlink, which is not followed" if kind == stat.S_IFLNK else "not a directory"
            raise StateError(f"state of {container_id}: {directory} is {what}; delete --force removes it")
        return directory

    def discard(self, container_id: str) -> None:
        """Removes a symlink (not its target) or a file in the place of a state directory."""
        os.unlink(self.container(container_id))

    def new(self, container_id: str) -> str:
        """Creates the directory, and thereby reserves the ID: of several callers, one succeeds.

        Raises InvalidId, AlreadyExists, and PyociError if the root cannot be created.
        """
        directory = self.container(container_id)
        try:
            try:
                os.mkdir(directory, 0o700)
            except FileNotFoundError:  # the first container here
                os.makedirs(self.path, 0o700, exist_ok=True)
                os.mkdir(directory, 0o700)
        except FileExistsError as error:
            if not os.path.isdir(self.path):
                raise PyociError(f"create {container_id}: state root {self.path} is not a directory") from error
            raise AlreadyExists(container_id) from error
        except OSError as error:
            why = reason(error, missing="a directory on the way is missing")
            raise PyociError(f"create {container_id}: make the state directory {directory}: {why}") from error
        return directory

    def ids(self) -> list[str]:
        """Returns the IDs of all containers, sorted; none if the root does not exist."""
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _ALLOWED.issuperset(name))


class Lock:
    """An exclusive lock of a container's state directory, for its creation and deletion (flock(2)).

    It ends with the process, so a killed runtime leaves none behind.
    """

    __slots__ = ("_descriptor", "directory")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._descriptor = -1

    def take(self, seconds: float = 0.0) -> bool:
        """Takes the lock.

        Waits at most ``seconds``. Returns False if it is held; True also if the directory is gone.
        """
        import fcntl

        try:
            self._descriptor = os.open(self.directory, OPEN_DIRECTORY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return seconds > 0 and self._wait(seconds)
        return True

    def gone(self) -> bool:
        """Returns whether the locked directory has been removed. Another one may have its name now."""
        return self._descriptor < 0 or os.fstat(self._descriptor).st_nlink == 0

    def _wait(self, seconds: float) -> bool:
        """Waits for the lock. flock has no time limit, so an alarm interrupts it."""
        import _signal
        import fcntl

        def interrupted(number: int, frame: object) -> None:
            raise InterruptedError

        before = _signal.signal(_signal.SIGALRM, _signal.SIG_IGN)  # which drops one that was held back
        _signal.signal(_signal.SIGALRM, interrupted)
        mask = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])
        _signal.setitimer(_signal.ITIMER_REAL, seconds)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except InterruptedError:
            return False
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            _signal.signal(_signal.SIGALRM, before)
        return True

    def release(self) -> None:
        """Releases the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def remove_directory(directory: str) -> None:
    """Removes a state directory and its contents, if it exists. No symlink is followed."""
    try:
        place = os.open(directory, OPEN_DIRECTORY)
        try:
            _empty(place)
        finally:
            os.close(place)
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _empty(place: int) -> None:
    """Removes the contents of a directory."""
    for name in os.listdir(place):
        try:
            os.unlink(name, dir_fd=place)
        except IsADirectoryError:  # not pyoci's: a state directory has only files
            below = os.open(name, OPEN_DIRECTORY, dir_fd=place)
            try:
                _empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=place)
