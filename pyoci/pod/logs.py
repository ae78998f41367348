# SPDX-License-Identifier: Apache-2.0
"""Container logs in the format of the Kubernetes CRI: ``TIME STREAM TAG TEXT``, one file per container.

    2016-10-06T00:17:09.669794202Z stdout F the text of one line
    2016-10-06T00:17:10.113242941Z stderr P the beginning of a line that is longer than LONGEST

TIME is RFC 3339 in UTC. TAG is F for a full line or its last part, and P for a part that continues.
"""

from __future__ import annotations

import os

from pyoci.container.state import now

LONGEST = 16384
"""Bytes of one entry's text at most, as containerd's CRI cuts lines."""

LARGEST = 10 << 20
"""Bytes of one file; then it becomes ``FILE.1`` and a new one begins (kubelet's containerLogMaxSize)."""


class Log:
    """The log file of one container, below an open directory."""

    def __init__(self, folder: int, name: str) -> None:
        """folder: a descriptor, which the caller keeps. Raises OSError."""
        self._folder, self._name = folder, name
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._name, flags, 0o600, dir_fd=self._folder)

    def write(self, stream: str, entries: list[tuple[bytes, bool]]) -> None:
        """Appends entries (text, whether it ends its line) of ``stdout`` or ``stderr``, with one write."""
        head = f"{now()} {stream} ".encode()
        data = b"".join(head + (b"F " if full else b"P ") + text + b"\n" for text, full in entries)
        if self._size + len(data) > LARGEST:
            self._rotate()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)

    def _rotate(self) -> None:
        os.replace(self._name, self._name + ".1", src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.close(self._fd)
        self._fd, self._size = self._open(), 0

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


class Lines:
    """Cuts a stream of bytes into entries."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Returns what is complete: lines, and parts of a line that is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = [entry for line in lines for entry in _cut(line)]
        while len(self._rest) >= LONGEST:
            entries.append((self._rest[:LONGEST], False))
            self._rest = self._rest[LONGEST:]
        return entries

    def end(self) -> list[tuple[bytes, bool]]:
        """Returns the last line, if it has no newline."""
        rest, self._rest = self._rest, b""
        return [(rest, True)] if rest else []


def _cut(line: bytes) -> list[tuple[bytes, bool]]:
    parts = [line[at : at + LONGEST] for at in range(0, len(line), LONGEST)] or [b""]
    return [(part, False) for part in parts[:-1]] + [(parts[-1], True)]


class Reader:
    """Reads the log of a container: first all of it, then what was added."""

    def __init__(self, folder: int, name: str) -> None:
        """folder: a descriptor of the directory, which the caller keeps."""
        self._folder, self._name = folder, name
        self._fd = -1
        self._rest = b""
        self._text: dict[str, bytes] = {}

    def read(self) -> list[tuple[str, str, bytes]]:
        """Returns (time, stream, text) of each new full line; none if there is no log yet."""
        if self._fd < 0:
            return self._begin()
        found = self._entries()
        if self._replaced():
            os.close(self._fd)
            self._fd = self._opened(self._name)
            found += self._entries()
        return found

    def _begin(self) -> list[tuple[str, str, bytes]]:
        found: list[tuple[str, str, bytes]] = []
        self._fd = self._opened(self._name + ".1")
        if self._fd >= 0:
            found = self._entries()
            os.close(self._fd)
        self._fd = self._opened(self._name)
        return found + (self._entries() if self._fd >= 0 else [])

    def _opened(self, name: str) -> int:
        try:
            return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        except FileNotFoundError:
            return -1

    def _replaced(self) -> bool:
        try:
            return os.lstat(self._name, dir_fd=self._folder).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def _entries(self) -> list[tuple[str, str, bytes]]:
        found = []
        while data := os.read(self._fd, 1 << 20):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                when, stream, tag, text = (*line.split(b" ", 3), b"", b"", b"")[:4]
                name = stream.decode("ascii", "replace")
                whole = self._text.pop(name, b"") + text
                if tag == b"P":
                    self._text[name] = whole
                else:
                    found.append((when.decode("ascii", "replace"), name, whole))
        return found
