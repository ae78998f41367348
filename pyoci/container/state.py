# SPDX-License-Identifier: Apache-2.0
"""The stored state of a container, ROOT/ID/state.json, and the state that the specification defines.

The directory also has ``init``, ``start.sock`` and ``seccomp.bpf``. ``init`` is a symlink that points nowhere; its text
identifies init and the cgroup. It is created in one step, so it is whole even if state.json is damaged, and ``delete
--force`` uses it. On ``start.sock`` init waits for ``start``; it exists as long as the container is *created*.
"""

from __future__ import annotations

import os
import time

from pyoci import SPEC_VERSION, jsontext
from pyoci.cgroup import from_state
from pyoci.container import processes
from pyoci.errors import CgroupError, PyociError, StateError, reason
from pyoci.kernel.namespaces import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.cgroup import Cgroup
    from pyoci.config.documents import Hook, Process
    from pyoci.container.paths import Root

FORMAT = 2  # since the state keeps the resources and the personality
LARGEST = 64 << 20
PID_MAX = 1 << 22  # the kernel's PID_MAX_LIMIT (include/linux/threads.h)
_TOO_LARGE = 1 << 63
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REPLACE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {
    "id": str,
    "pid": int,
    "started": int,
    "boot": str,
    "bundle": str,
    "rootfs": str,
    "created": str,
    "owner": str,
    "annotations": dict,
    "cgroup": dict,
    "namespaces": list,
    "shares_pid": int,
    "process": dict,
    "hooks": dict,
    "seccomp": int,
    "keyring": str,
    "personality": int,
}


class State:
    """The state of one container. The attributes are the keys of state.json.

    pid: of init on the host, 0 until there is one; started: its start time in clock ticks; boot: identifies the boot;
    shares_pid: 1 if it shares its PID namespace, so that its processes outlive init; seccomp: flags of the filter in
    seccomp.bpf, -1 for none; keyring: name of the session keyring, or ""; personality: the argument of personality(2),
    -1 for none.
    """

    __slots__ = ("directory", *_TYPES)

    directory: str
    id: str
    pid: int
    started: int
    boot: str
    bundle: str
    rootfs: str
    created: str
    owner: str
    annotations: dict[str, str]
    cgroup: dict[str, Any]
    namespaces: list[str]
    shares_pid: int
    process: Process
    hooks: dict[str, list[Hook]]
    seccomp: int
    keyring: str
    personality: int

    def __init__(self, directory: str, values: dict[str, Any]) -> None:
        self.directory = directory
        for name, kind in _TYPES.items():
            value = values.get(name)
            if type(value) is not kind:
                raise self._damaged(name)
            setattr(self, name, value)
        if not directory.endswith(f"/{self.id}"):
            raise self._damaged("id")
        if not (0 <= self.pid <= PID_MAX and 0 <= self.started < _TOO_LARGE and -1 <= self.seccomp < _TOO_LARGE):
            raise self._damaged("pid, started or seccomp")
        if not TYPES.keys() >= {*map(str, self.namespaces)}:
            raise self._damaged("namespaces")
        if self.hooks and not all(map(_is_hook, _items(self.hooks))):
            raise self._damaged("hooks")

    def _damaged(self, what: str) -> StateError:
        return StateError(f"state of {os.path.basename(self.directory)}: {what} is damaged; delete --force removes it")

    @classmethod
    def load(cls, root: Root, container_id: str) -> State:
        """Reads the state. Raises InvalidId, NotFound, StateError."""
        directory = root.container(container_id)
        try:
            # A path need not be UTF-8. Other bytes are kept (os.fsdecode).
            values = jsontext.loads(_read(directory).decode("utf-8", "surrogateescape"))
        except (FileNotFoundError, NotADirectoryError) as error:
            root.existing(container_id)
            raise StateError(
                f"state of {container_id}: there is none: it is being created, or that was cut off and delete --force "
                "removes it"
            ) from error
        except (OSError, ValueError) as error:
            raise StateError(f"state of {container_id}: damaged ({error}); delete --force removes it") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise StateError(f"state of {container_id}: not written by this version; delete --force removes it")
        return cls(directory, values)

    def save(self, durable: bool = True) -> None:
        """Writes the state. A reader sees the whole old one or the whole new one. Raises PyociError."""
        self.write(durable)
        self.publish()

    def write(self, durable: bool = True) -> None:
        """Writes the state under a temporary name, for ``publish``.

        durable: whether it must survive a crash of the machine (fsync(2)); a state without a process need not. Raises
        PyociError.
        """
        values = {"format": FORMAT, **{name: getattr(self, name) for name in _TYPES}}
        data = jsontext.dumps(values).encode("utf-8", "surrogateescape")
        path = f"{self.directory}/state.json"
        try:
            descriptor = os.open(f"{path}.new", _REPLACE, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _not_saved(path, error) from error

    def publish(self) -> None:
        """Moves the state that ``write`` wrote to its place. Raises PyociError."""
        path = f"{self.directory}/state.json"
        try:
            os.rename(f"{path}.new", path)
        except OSError as error:
            raise _not_saved(path, error) from error

    def remember_init(self) -> None:
        """Writes the identity of init and its cgroup as the symlink ``init``."""
        text = f"{self.pid} {self.started} {self.boot} {self.cgroup.get('manager')} {self.cgroup.get('path')}"
        path = f"{self.directory}/init"
        os.symlink(text, path + ".new")
        os.rename(path + ".new", path)

    def open_init(self) -> int:
        """Returns a pidfd of init, for the caller to close, or -1 if it has ended or belongs to another boot."""
        if not self.pid or self.boot != processes.boot_id():
            return -1
        return processes.open_same(self.pid, self.started)

    def alive(self) -> bool:
        """Returns whether init is alive."""
        if not self.pid or processes.start_time(self.pid) != self.started:
            return False
        return self.boot == processes.boot_id()

    def status(self) -> str:
        """Returns the status: creating, created, running, paused or stopped (runtime.md, "State")."""
        if not self.alive():
            return "stopped" if self.pid or not self._in_creation() else "creating"
        if os.path.lexists(self.start_socket):
            return "created"
        try:
            return "paused" if self.group().frozen() else "running"
        except CgroupError:
            return "running"

    def _in_creation(self) -> bool:
        from pyoci.container.paths import Lock

        with Lock(self.directory) as lock:
            return not lock.take()

    @property
    def start_socket(self) -> str:
        """Returns the path of the socket on which init waits for ``start``."""
        return f"{self.directory}/start.sock"

    def group(self) -> Cgroup:
        """Returns the control group."""
        return from_state(self.cgroup)

    def document(self, status: str = "") -> dict[str, Any]:
        """Returns the state that the specification defines (runtime.md, "State"), with the additions of runc."""
        status = status or self.status()
        return {
            "ociVersion": SPEC_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "annotations": self.annotations,
            "owner": self.owner,
        }

    def text(self, status: str = "") -> str:
        """Returns the document as JSON text."""
        return jsontext.dumps(self.document(status))

    def for_hooks(self, status: str) -> bytes:
        """Returns the text that hooks get on their standard input."""
        return self.text(status).encode("utf-8", "surrogateescape")


class Remembered:
    """What ``remember_init`` has stored, which is enough to end a container with a damaged state."""

    __slots__ = ("boot", "manager", "path", "pid", "started")

    def __init__(self, text: str) -> None:
        pid, started, self.boot, self.manager, self.path = text.split(" ", 4)
        self.pid, self.started = int(pid), int(started)
        if not 0 <= self.pid <= PID_MAX or not 0 <= self.started < _TOO_LARGE:
            raise ValueError(text)

    @classmethod
    def load(cls, directory: str) -> Remembered | None:
        """Reads it. Returns None if there is none, or if it makes no sense."""
        try:
            return cls(os.readlink(f"{directory}/init"))
        except (OSError, ValueError):
            return None

    def contradicts(self, state: State) -> bool:
        """Returns whether the state is about another process or another cgroup.

        One in creation may have no process yet.
        """
        if (state.cgroup.get("manager"), state.cgroup.get("path")) != (self.manager, self.path):
            return True
        known = (state.pid, state.started, state.boot)
        return bool(state.pid) and known != (self.pid, self.started, self.boot)


def now() -> str:
    """Returns the current time in UTC: RFC 3339 with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{moment(seconds)}.{nanoseconds:09d}Z"


def moment(seconds: int) -> str:
    """Returns seconds since 1970 as date and time in UTC. gmtime(3) would read the file of the local time zone."""
    days, second = divmod(seconds, 86400)
    # A year that begins in March has its leap day at the end, and months with 31 30 31 30 31 days, repeatedly: 153 days
    # in five months. There are 719468 days from such a year 0 to 1970, and 146097 days in 400 years.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += 400 * era + month // 10
    hour, minute, second = second // 3600, second // 60 % 60, second % 60
    return f"{year}-{(month + 2) % 12 + 1:02}-{day + 1:02}T{hour:02}:{minute:02}:{second:02}"


def _not_saved(path: str, error: OSError) -> PyociError:
    return PyociError(f"save the state {path}: {reason(error, missing='its directory is gone')}")


def _items(hooks: dict[str, Any]) -> Iterator[Any]:
    for listed in hooks.values():
        yield from listed if isinstance(listed, list) else [None]


def _is_hook(value: Any) -> bool:
    """Returns whether a hook from the state has the form of the schema. delete runs the poststop hooks of a state."""
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return False
    texts = [*value.get("args", ()), *value.get("env", ())]
    return all(isinstance(text, str) for text in texts) and isinstance(value.get("timeout", 0), (int, float))


def owner() -> str:
    """Returns the name of the user who owns the container, or the number if it has no name."""
    uid = os.geteuid()
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read(directory: str) -> bytes:
    """Reads state.json in a directory. Neither may be a symlink. Raises OSError, ValueError."""
    place = os.open(directory, _PLACE)
    try:
        descriptor = os.open("state.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    try:
        size = os.fstat(descriptor).st_size
        if size > LARGEST:
            raise ValueError(f"{size} bytes")
        return os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
