# SPDX-License-Identifier: Apache-2.0
"""The directory of a pod, with its state.

ROOT-pods/NAME/            0700; ROOT is the runtime's state root, so /run/pyoci-pods/NAME by default
    lock                   held (flock) as long as the supervisor lives; a PID might be reused
    pod.json               the state, replaced as a whole
    manifest.yaml          what was run
    control                the supervisor's socket
    supervisor.log         stderr of a supervisor in the background
    logs/CONTAINER.log     in the format of the CRI
    etc/hosts etc/hostname
    shm/ volumes/NAME/     what the containers share
    containers/NAME/       bundle: config.json, rootfs (mount point), upper and work (overlay)

No symlink in it is followed: it is entered component by component, and its files are opened below a descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pyoci.errors import PodError, reason
from pyoci.pod import removal, state
from pyoci.pod.state import PodState

_NAME = re.compile(r"[a-z0-9][-a-z0-9.]{0,62}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 16 << 20  # bytes of a state with 256 events and the containers of a manifest of 1 MiB


class Directory:
    """The paths of one pod. The constructor creates nothing; it raises PodError for an invalid name."""

    def __init__(self, root: str, name: str) -> None:
        """root: the runtime's state root (``/run/pyoci``)."""
        if not _NAME.fullmatch(name):
            raise PodError(f"pod {name[:80]!r}: not a name of a-z, 0-9, '-' and '.' with at most 63 characters")
        self.name = name
        self.parent = parent(root)
        self.path = f"{self.parent}/{name}"

    def bundle(self, container: str) -> str:
        """Returns the bundle of a container."""
        return f"{self.path}/containers/{container}"

    @contextmanager
    def opened(self, *below: str) -> Iterator[int]:
        """Opens the pod's directory, or one below it, while the context lasts. Returns the descriptor.

        Raises FileNotFoundError, and PodError if a component is a symlink or not a directory.
        """
        fd = self._open(below)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, below: tuple[str, ...]) -> int:
        path = self.parent
        try:
            fd = os.open(path, _FOLDER)
            for part in (self.name, *below):
                path = f"{path}/{part}"
                try:
                    deeper = os.open(part, _FOLDER, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = deeper
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PodError(f"pod {self.name}: open {path}: {_reason(error)}") from error
        return fd

    def exists(self) -> bool:
        """Returns whether the pod exists, in any condition. Raises PodError if something else has its place."""
        try:
            with self.opened():
                return True
        except FileNotFoundError:
            return False

    def require(self) -> None:
        """Raises PodError if there is no such pod."""
        if not self.exists():
            raise self._missing()

    def claim(self, manifest: bytes) -> int:
        """Creates the directory and locks it. Returns the descriptor of the lock, to be kept open.

        The directory appears under its name in one step, complete. Raises PodError if the name is taken.
        """
        os.makedirs(self.parent, mode=0o700, exist_ok=True)
        try:
            above = os.open(self.parent, _FOLDER)
        except OSError as error:
            raise PodError(f"pod {self.name}: open {self.parent}: {_reason(error)}") from error
        try:
            os.fchmod(above, 0o700)
            return self._claim(above, manifest)
        finally:
            os.close(above)

    def _claim(self, above: int, manifest: bytes) -> int:
        _remove_early(above)
        early = f".{self.name}.{os.getpid()}"
        for part in ("", "/logs", "/etc", "/shm", "/volumes", "/containers"):
            os.mkdir(early + part, 0o700, dir_fd=above)
        fd = os.open(early, _FOLDER, dir_fd=above)
        try:
            write(fd, "manifest.yaml", manifest, 0o600)
            lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
        finally:
            os.close(fd)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            os.rename(early, self.name, src_dir_fd=above, dst_dir_fd=above)
        except OSError as error:
            os.close(lock)
            removal.remove(above, early)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                hint = f"'pyoci pod rm {self.name}' removes it"
                raise PodError(f"pod {self.name}: exists already; {hint}") from error
            raise
        return lock

    def supervised(self) -> bool:
        """Returns whether a supervisor holds the lock."""
        lock = self.take_lock()
        if lock < 0:
            return True
        os.close(lock)
        return False

    def take_lock(self) -> int:
        """Takes the lock. Returns its descriptor, or -1 if a supervisor has it. Raises PodError."""
        try:
            with self.opened() as fd:
                lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
        except FileNotFoundError as error:
            raise self._missing() from error
        except OSError as error:
            raise PodError(f"pod {self.name}: open {self.path}/lock: {_reason(error)}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return -1
        return lock

    def save(self, text: str) -> None:
        """Replaces the state, a JSON text, by temporary file, fsync and rename."""
        with self.opened() as fd:
            write(fd, "pod.json.new", text.encode(), 0o600)
            os.rename("pod.json.new", "pod.json", src_dir_fd=fd, dst_dir_fd=fd)

    def load(self) -> PodState:
        """Returns the state. Raises PodError if there is no such pod or its state cannot be read."""
        self.require()
        try:
            with self.opened() as fd:
                return state.parse(_read(fd, "pod.json"))
        except FileNotFoundError as error:
            words = "has no state yet, or its supervisor died before it wrote one"
            raise PodError(f"pod {self.name}: {words}") from error
        except OSError as error:
            raise PodError(f"pod {self.name}: read {self.path}/pod.json: {_reason(error)}") from error
        except ValueError as error:
            raise PodError(f"pod {self.name}: read {self.path}/pod.json: {error}") from error

    def containers(self) -> list[str]:
        """Returns the names of the containers that have, or had, a bundle here."""
        try:
            with self.opened("containers") as fd:
                return os.listdir(fd)
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Removes the directory and its contents. Nothing may be mounted there. Raises PodError."""
        with parent_opened(self.parent) as above:
            removal.remove(above, self.name)

    def _missing(self) -> PodError:
        return PodError(f"pod {self.name}: pod does not exist")


def parent(root: str) -> str:
    """Returns the directory of all pods of a runtime root."""
    return root.rstrip("/") + "-pods"


@contextmanager
def parent_opened(path: str) -> Iterator[int]:
    """Returns a descriptor of the directory of all pods. Raises FileNotFoundError, PodError."""
    try:
        fd = os.open(path, _FOLDER)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PodError(f"open {path}: {_reason(error)}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def names(root: str) -> list[str]:
    """Returns the names of all pods, sorted. Raises PodError."""
    try:
        with parent_opened(parent(root)) as fd:
            return sorted(name for name in os.listdir(fd) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def write(folder: int, name: str, data: bytes, mode: int) -> None:
    """Writes a file below an open directory, and syncs it to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(name, flags, mode, dir_fd=folder)
    try:
        os.fchmod(fd, mode)
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(folder: int, name: str) -> bytes:
    """Reads a regular file below an open directory. Raises OSError, ValueError."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError("not a pod's state")
        return file.read(_LARGEST)


def _remove_early(above: int) -> None:
    """Removes what killed callers of claim() have left."""
    for name in os.listdir(above):
        pid = name.rpartition(".")[2]
        if name.startswith(".") and not (pid != str(os.getpid()) and os.path.exists(f"/proc/{pid}")):
            removal.remove(above, name)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):  # open(2), O_NOFOLLOW and O_DIRECTORY
        return "it is a symlink or not a directory, and not followed"
    return reason(error)
