# SPDX-License-Identifier: Apache-2.0
"""Where a container's state is kept: ROOT/ID, both closed to everyone else."""

from __future__ import annotations

import os
import stat

from pyoci.errors import AlreadyExists, InvalidId, NotFound, PyociError, StateError, reason

ID_MAX = 255  # the longest name of a file (NAME_MAX)
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(container_id: str) -> str:
    """Returns the ID itself, if it may become a file's name: the characters that runc allows. Raises InvalidId."""
    if not container_id:
        raise InvalidId("container ID is empty; give a name of letters, digits and _ + - .")
    if len(container_id) > ID_MAX:
        raise InvalidId(f"container ID {container_id[:24]}... has {len(container_id)} characters; {ID_MAX} are allowed")
    if container_id in (".", "..") or not _ALLOWED.issuperset(container_id):
        raise InvalidId(f"container ID {container_id!r} is not allowed; use letters, digits and _ + - .")
    return container_id


class Root:
    """The state root. Nothing is made until ``new``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def container(self, container_id: str) -> str:
        """Returns the directory of a container's state, whether it exists or not. Raises InvalidId."""
        return f"{self.path}/{check_id(container_id)}"

    def existing(self, container_id: str) -> str:
        """Returns the directory of an existing container. Raises InvalidId, NotFound, and StateError for a symlink or a
        file, which somebody else has put there."""
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
        """Removes what has the place of a state directory and is none: the symlink itself, or the file."""
        os.unlink(self.container(container_id))

    def new(self, container_id: str) -> str:
        """Makes the directory, which is what takes the ID: of several at once, one wins.

        Raises InvalidId, AlreadyExists, and PyociError when the root cannot be made.
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
        """Returns the IDs of all containers, sorted; none where the root does not exist."""
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _ALLOWED.issuperset(name))


class Lock:
    """An exclusive lock of a container's state directory, held while it is created or deleted (flock(2)).

    It ends with the process, so a killed runtime leaves none behind.
    """

    __slots__ = ("_descriptor", "directory")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._descriptor = -1

    def take(self, seconds: float = 0.0) -> bool:
        """Takes the lock; waits at most ``seconds``. False if another holds it; True if the directory is gone too."""
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
        """Returns whether the directory that was locked has been removed; another may have its name by now."""
        return self._descriptor < 0 or os.fstat(self._descriptor).st_nlink == 0

    def _wait(self, seconds: float) -> bool:
        """flock has no time limit of its own, so an alarm interrupts it."""
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
    """Removes a state directory with all that is in it. No symlink is followed. One that is gone is fine."""
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
    """Removes what a directory holds."""
    for name in os.listdir(place):
        try:
            os.unlink(name, dir_fd=place)
        except IsADirectoryError:  # none of ours: a state directory has only files
            below = os.open(name, OPEN_DIRECTORY, dir_fd=place)
            try:
                _empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=place)
