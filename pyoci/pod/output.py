# SPDX-License-Identifier: Apache-2.0
"""Copies the output of containers from their pipes to their logs and to observers."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyoci.pod.directory import Directory
from pyoci.pod.logs import Lines, Log

_PIECE = 65536
_LAST = 64
"""Pieces read at most from a pipe whose container has ended: another process may hold it open and go on writing."""

Tell = Callable[[str, str, bytes], None]
"""Called with container, stream and text of a line (or a part of a long one)."""


class Output:
    """The open pipes of all containers. The supervisor polls their descriptors."""

    def __init__(self, directory: Directory, tell: Tell) -> None:
        self._directory = directory
        self._tell = tell
        self._folder = -1  # of the logs
        self._logs: dict[str, Log] = {}
        self._pipes: dict[int, tuple[str, str, Lines]] = {}

    def add(self, name: str, stream: str, fd: int) -> None:
        """Adds the reading end of a pipe. stream: stdout or stderr."""
        os.set_blocking(fd, False)
        if name not in self._logs:
            if self._folder < 0:
                with self._directory.opened("logs") as folder:
                    self._folder = os.dup(folder)
            self._logs[name] = Log(self._folder, f"{name}.log")
        self._pipes[fd] = (name, stream, Lines())

    def read(self, fd: int) -> bool:
        """Reads one piece from the pipe. Returns False at its end, after closing it."""
        name, stream, lines = self._pipes[fd]
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return True
        self._write(name, stream, lines.feed(data) if data else lines.end())
        if not data:
            del self._pipes[fd]
            os.close(fd)
        return bool(data)

    def last(self, name: str) -> list[int]:
        """Reads the last output of a container that has ended, and closes its pipes. Returns their descriptors."""
        closed = [fd for fd, pipe in self._pipes.items() if pipe[0] == name]
        for fd in closed:
            for _ in range(_LAST):
                try:
                    data = os.read(fd, _PIECE)
                except BlockingIOError:
                    break
                if not data:
                    break
                self._write(name, self._pipes[fd][1], self._pipes[fd][2].feed(data))
            _, stream, lines = self._pipes.pop(fd)
            self._write(name, stream, lines.end())
            os.close(fd)
        return closed

    def close(self) -> None:
        """Closes everything."""
        for fd in self._pipes:
            os.close(fd)
        for log in self._logs.values():
            log.close()
        if self._folder >= 0:
            os.close(self._folder)
        self._pipes, self._logs, self._folder = {}, {}, -1

    def _write(self, name: str, stream: str, entries: list[tuple[bytes, bool]]) -> None:
        if not entries:
            return
        try:
            self._logs[name].write(stream, entries)
        except OSError:
            pass  # on a full disk the log is lost, not the pod
        for text, _ in entries:
            self._tell(name, stream, text)
