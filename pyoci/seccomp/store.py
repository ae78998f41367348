# SPDX-License-Identifier: Apache-2.0
"""The cache of compiled programs: a directory of small files that only their owner can access.

The name of a file is a hash of everything that the program is made from, except libseccomp. The file itself names the
libseccomp that compiled it by path, size, time and inode, so that a look-up needs one stat(2) and not the library.

    pyoci seccomp 1 | BLAKE2b of the rest and the name | path size mtime inode of libseccomp | struct sock_filter[]
"""

from __future__ import annotations

import marshal
import os
from stat import S_ISREG

from pyoci import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Seccomp

try:
    from _blake2 import blake2b  # hashlib would load OpenSSL
except ImportError:  # pragma: no cover - not CPython
    from hashlib import blake2b

_MAGIC = b"pyoci seccomp 1\n"
_DIGEST = 32
_INSTRUCTION = 8  # sizeof(struct sock_filter)
_LARGEST = 4096 * _INSTRUCTION  # BPF_MAXINSNS
_MOST_FILES = 256
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def name(seccomp: Seccomp) -> str:
    """Returns the file name for a profile that this version compiles for this machine."""
    head = f"{VERSION}\n{os.uname().machine}\n".encode()
    # Format 0 depends only on the values, and takes a fifth of the time of JSON.
    return blake2b(head + marshal.dumps(dict(seccomp), 0), digest_size=_DIGEST).hexdigest() + ".bpf"


def load(directory: str, file: str) -> bytes | None:
    """Returns the program, or None if it is missing, damaged, from another libseccomp, or not to be trusted."""
    try:
        place = _open_directory(directory)
        try:
            content = _read(place, file)
        finally:
            os.close(place)
    except OSError:
        return None
    head, digest, rest = content[: len(_MAGIC)], content[len(_MAGIC) :][:_DIGEST], content[len(_MAGIC) + _DIGEST :]
    if head != _MAGIC or digest != _checksum(file, rest):
        return None
    library, _, bpf = rest.partition(b"\n")
    if not bpf or len(bpf) % _INSTRUCTION or library != _identity(os.fsdecode(library).rpartition(" ")[0]):
        return None
    return bpf


def save(directory: str, file: str, bpf: bytes, library: str) -> None:
    """Stores a program. A cache that cannot be written (a read-only /run, no root) is not an error."""
    identity = _identity(library)
    if not identity:
        return
    rest = identity + b"\n" + bpf
    try:
        place = _open_directory(directory, make=True)
        try:
            _make_room(place)
            _write(place, file, _MAGIC + _checksum(file, rest) + rest)
        finally:
            os.close(place)
    except OSError:
        return


def _open_directory(directory: str, make: bool = False) -> int:
    """Returns a descriptor of the directory; ``make``: makes it, and the one above it, if they are missing.

    No symlink in the place of either is followed. Raises PermissionError for a directory that somebody else owns or may
    read or write; OSError.
    """
    above, name = os.path.split(directory)
    if make:
        _make(above, None)
    outer = os.open(above, _OPEN)
    try:
        if make:
            _make(name, outer)
        place = os.open(name, _OPEN, dir_fd=outer)
    finally:
        os.close(outer)
    facts = os.fstat(place)
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        os.close(place)
        raise PermissionError
    return place


def _make(name: str, above: int | None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass


def _read(place: int, file: str) -> bytes:
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    try:
        facts = os.fstat(handle)
        if not S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise PermissionError
        return os.read(handle, _LARGEST + 8192)
    finally:
        os.close(handle)


def _write(place: int, file: str, content: bytes) -> None:
    """Writes a file that appears whole or not at all. It has no name until it is complete, so a kill leaves nothing."""
    handle = os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o600, dir_fd=place)
    try:
        os.write(handle, content)
        try:
            os.unlink(file, dir_fd=place)  # what is there was refused by load()
        except FileNotFoundError:
            pass
        # Fails if another process has done the same meanwhile, which serves as well.
        os.link(f"/proc/self/fd/{handle}", file, dst_dir_fd=place, follow_symlinks=True)
    finally:
        os.close(handle)


def _make_room(place: int) -> None:
    """Empties a cache that has grown large: profiles generated for each container would fill the memory."""
    files = os.listdir(place)
    if len(files) >= _MOST_FILES:
        for file in files:
            os.unlink(file, dir_fd=place)


def _checksum(file: str, rest: bytes) -> bytes:
    return blake2b(file.encode() + rest, digest_size=_DIGEST).digest()


def _identity(library: str) -> bytes:
    """Returns one line that changes when the library does; empty if there is no library."""
    try:
        facts = os.stat(library)
    except OSError:
        return b""
    return os.fsencode(f"{library} {facts.st_size}/{facts.st_mtime_ns}/{facts.st_ino}")
