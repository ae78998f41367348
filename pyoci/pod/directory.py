# SPDX-License-Identifier: Apache-2.0
"""The directory of a pod: where everything of it is, and its state.

ROOT-pods/NAME/            0700; ROOT is the runtime's state root, so /run/pyoci-pods/NAME by default
    lock                   held (flock) as long as the supervisor lives; a PID could be another's by then
    pod.json               the state, replaced as a whole
    manifest.yaml          what was run
    control                the supervisor's socket
    logs/CONTAINER.log     CRI format
    etc/hosts etc/hostname
    shm/ volumes/NAME/     what containers share
    containers/NAME/       bundle: config.json, rootfs (mount point), upper and work (overlay)
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
from typing import Any

from pyoci import jsontext
from pyoci.errors import PodError

_NAME = re.compile(r"[a-z0-9][-a-z0-9.]{0,62}")


class Directory:
    """Paths of one pod; makes nothing by itself. Raises PodError for a name that no pod can have."""

    def __init__(self, root: str, name: str) -> None:
        """root: the runtime's state root (``/run/pyoci``)."""
        if not _NAME.fullmatch(name):
            raise PodError(f"pod {name!r}: not a name of a-z, 0-9, '-' and '.' with at most 63 characters")
        self.name = name
        self.parent = parent(root)
        self.path = f"{self.parent}/{name}"
        self.control = f"{self.path}/control"
        self.manifest = f"{self.path}/manifest.yaml"
        self.shm = f"{self.path}/shm"

    def bundle(self, container: str) -> str:
        """The bundle of a container."""
        return f"{self.path}/containers/{container}"

    def log(self, container: str) -> str:
        """The log file of a container."""
        return f"{self.path}/logs/{container}.log"

    def volume(self, name: str) -> str:
        """Where an emptyDir volume is."""
        return f"{self.path}/volumes/{name}"

    def etc(self, name: str) -> str:
        """A file that every container finds in /etc."""
        return f"{self.path}/etc/{name}"

    def exists(self) -> bool:
        """Whether there is such a pod, whatever its condition."""
        return os.path.isdir(self.path)

    def require(self) -> None:
        """Raises PodError if there is no such pod."""
        if not self.exists():
            raise PodError(f"pod {self.name}: pod does not exist")

    def claim(self, manifest: bytes) -> int:
        """Makes the directory, with its lock held; gives the lock's descriptor, to be kept for life.

        It appears under its name in one step, complete. Raises PodError if the name is taken.
        """
        os.makedirs(self.parent, mode=0o700, exist_ok=True)
        os.chmod(self.parent, 0o700)
        self._remove_early()
        early = f"{self.parent}/.{self.name}.{os.getpid()}"
        for part in ("", "/logs", "/etc", "/shm", "/volumes", "/containers"):
            os.mkdir(early + part, 0o700)
        write(f"{early}/manifest.yaml", manifest, 0o600)
        lock = os.open(f"{early}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            os.rename(early, self.path)
        except OSError as error:
            os.close(lock)
            shutil.rmtree(early, ignore_errors=True)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise PodError(f"pod {self.name}: exists already; 'pyoci pod rm {self.name}' removes it") from None
            raise
        return lock

    def _remove_early(self) -> None:
        """Removes what claims left that were killed on their way."""
        for name in os.listdir(self.parent):
            pid = name.rpartition(".")[2]
            if name.startswith(".") and not (pid != str(os.getpid()) and os.path.exists(f"/proc/{pid}")):
                shutil.rmtree(f"{self.parent}/{name}", ignore_errors=True)

    def supervised(self) -> bool:
        """Whether a supervisor holds the lock."""
        lock = self.take_lock()
        if lock < 0:
            return True
        os.close(lock)
        return False

    def take_lock(self) -> int:
        """The lock's descriptor, held by the caller now; -1 if a supervisor has it."""
        try:
            lock = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise PodError(f"pod {self.name}: pod does not exist") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return -1
        return lock

    def save(self, state: str) -> None:
        """Replaces the state, a JSON text: temporary file, fsync, rename."""
        path = f"{self.path}/pod.json"
        write(f"{path}.new", state.encode(), 0o600)
        os.rename(f"{path}.new", path)

    def load(self) -> dict[str, Any]:
        """The state. Raises PodError if there is no such pod or its state cannot be read."""
        self.require()
        try:
            with open(f"{self.path}/pod.json", "rb") as file:
                state = jsontext.loads(file.read())
        except FileNotFoundError:
            raise PodError(f"pod {self.name}: has no state yet, or its supervisor died before it wrote one") from None
        except (OSError, ValueError) as error:
            raise PodError(f"pod {self.name}: read {self.path}/pod.json: {error}") from None
        if not isinstance(state, dict) or not isinstance(state.get("containers"), list):
            raise PodError(f"pod {self.name}: read {self.path}/pod.json: not a pod's state")
        return state


def parent(root: str) -> str:
    """The directory of all pods of a runtime root."""
    return root.rstrip("/") + "-pods"


def names(root: str) -> list[str]:
    """The pods that there are, sorted."""
    try:
        found = os.listdir(parent(root))
    except FileNotFoundError:
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))


def write(path: str, data: bytes, mode: int) -> None:
    """Writes a file and has it on disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(fd, mode)
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def now() -> float:
    """The time as states keep it: seconds since the epoch."""
    return time.time()
