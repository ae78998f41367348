# SPDX-License-Identifier: Apache-2.0
"""Reads and writes control files of a cgroup file system. Errors name the file and the property."""

from __future__ import annotations

import errno
import os

from pyoci.errors import CgroupError, OutOfMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    # controller, file, value, JSON pointer of the property that asks for it
    Write = tuple[str, str, str, str]

_ANY_SIZE = 65536
_MEMORY = "/linux/resources/memory/"


def reason(error: OSError) -> str:
    """Returns why an operation failed.

    Engines interpret the texts of ENOENT, EPERM and EACCES (docs/engines.md) and never mean a control file, so these
    three have other texts here.
    """
    number = error.errno or 0
    if number == errno.ENOENT:
        return "the file is missing"
    if number in (errno.EPERM, errno.EACCES):
        return f"refused by the kernel ({errno.errorcode[number]})"
    return os.strerror(number).lower()


def hint(error: OSError) -> str:
    """Returns what a caller can do who may not use control groups; "" for other errors."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return "; run pyoci as root, or with --cgroup-manager disabled" if denied else ""


def read(path: str) -> str:
    """Returns the whole text of a control file.

    Raises OSError; FileNotFoundError also if the file is removed while it is open.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        text = b""
        while piece := os.read(descriptor, _ANY_SIZE):
            text += piece
    except OSError as error:
        _refuse_gone(error, path)
        raise
    finally:
        os.close(descriptor)
    return text.decode("ascii", "replace")


def counter(path: str, name: str) -> int:
    """Returns the number of ``name`` in a control file with lines ``name number``, or 0 if there is none."""
    try:
        lines = read(path).splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def shown(path: str) -> str:
    """Returns a control file's name and value, for a message; "" if it cannot be read."""
    try:
        return f"{os.path.basename(path)} is {read(path).strip()}"
    except OSError:
        return ""


def write(path: str, value: str) -> None:
    """Writes a value with one write(2), as control files require. Raises OSError like read."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        put(descriptor, path, value)
    finally:
        os.close(descriptor)


def put(descriptor: int, path: str, value: str) -> None:
    """Writes a value to an open control file. Raises OSError like read."""
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        _refuse_gone(error, path)
        raise


def _refuse_gone(error: OSError, path: str) -> None:
    """Raises FileNotFoundError for ENODEV, which the kernel returns for an open file whose group has been removed."""
    if error.errno == errno.ENODEV:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error


def failed(path: str, error: OSError, value: str = "", pointer: str = "") -> CgroupError:
    """Returns the exception for a write that failed. pointer: the property in config.json that asked for it."""
    what = f" ({pointer} asks for {value})" if pointer else f" (value {value})" if value else ""
    if error.errno == errno.EBUSY and pointer.startswith(_MEMORY):
        return OutOfMemory(f"write {path}: its processes use more already, and it cannot be reclaimed{what}")
    return CgroupError(f"write {path}: {reason(error)}{what}")


def apply(directory: str, writes: list[Write]) -> None:
    """Does the writes of one controller.

    The kernel checks some files against each other (quota and period, limit and swap), and returns EINVAL for the wrong
    order, which depends on their current values. So what fails with EINVAL is tried again after the others, as long as
    one of them succeeds. Raises CgroupError.
    """
    waiting = writes
    while waiting:
        refused: list[Write] = []
        fault: CgroupError | None = None
        cause: OSError | None = None
        for each in waiting:
            path = f"{directory}/{each[1]}"
            try:
                write(path, each[2])
            except OSError as error:
                fault, cause = failed(path, error, each[2], each[3]), error
                if error.errno != errno.EINVAL:
                    raise fault from error
                refused.append(each)
        if fault is not None and len(refused) == len(waiting):
            raise fault from cause
        waiting = refused


def values(paths: list[str]) -> list[tuple[str, str]]:
    """Returns the paths with their values, to be restored if a change fails. What cannot be read is left out."""
    found = []
    for path in dict.fromkeys(paths):
        try:
            value = read(path).strip()
        except OSError:
            continue
        if path.endswith("/memory.oom_control"):
            value = value.partition("\n")[0].rpartition(" ")[2]  # its first line is: oom_kill_disable 0
        found.append((path, value))
    return found


def restore(before: list[tuple[str, str]]) -> None:
    """Writes values back, as far as the kernel takes them. Twice, because one may have to wait for another."""
    for _ in range(2):
        for path, value in before:
            for line in value.split("\n"):
                try:
                    write(path, line)
                except OSError:
                    pass


def open_directory(path: str) -> int:
    """Returns a new descriptor of a cgroup, for clone3(2). Raises CgroupError."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CgroupError(f"open cgroup {path}: {reason(error)}") from error


def children(directory: str) -> list[str]:
    """Returns the sub-cgroups of a cgroup, as paths. A directory that is gone has none."""
    try:
        # kernfs counts sub-directories as links. Two links mean none, and save listing dozens of control files.
        if os.stat(directory).st_nlink == 2:
            return []
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def deepest_first(directory: str) -> list[str]:
    """Returns all cgroups below a cgroup, without itself, each after those below it."""
    found = [directory]
    for place in found:  # grows during the loop: deeper ones come later
        found += children(place)
    return found[:0:-1]


def processes(directory: str) -> list[int]:
    """Returns the processes of a cgroup and of all below it. A cgroup that is gone has none."""
    found: list[int] = []
    for place in [directory, *deepest_first(directory)]:
        try:
            # 0 is a process of another PID namespace, which has no number here.
            found += [int(word) for word in read(f"{place}/cgroup.procs").split() if word != "0"]
        except OSError as error:
            # EOPNOTSUPP: a threaded cgroup; its processes are listed by the domain above it (cgroup-v2.rst).
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise CgroupError(f"read {place}/cgroup.procs: {reason(error)}") from error
    return found
