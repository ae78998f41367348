# SPDX-License-Identifier: Apache-2.0
"""Prints what happens in a pod: the lines of its containers, with their names, and events."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyoci.cli import output, pod_tables
from pyoci.pod.state import Event
from pyoci.pod.supervisor import Audience

_WIDTH = 12


class View(Audience):
    """The output of a pod in the foreground. Lines keep the stream that they were printed to; events go to stderr.

    If the reader of a stream is gone, the stream is not written to again, and the pod continues. On a terminal the
    control characters of containers are shown as escapes.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._closed: set[int] = set()
        self._terminals = frozenset(fd for fd in (output.STDOUT, output.STDERR) if os.isatty(fd))

    def line(self, name: str, stream: str, text: bytes) -> None:
        """Prints one line of a container."""
        target = output.STDERR if stream == "stderr" else output.STDOUT
        self._write(f"{name:<{_WIDTH}} | {decoded(text, target in self._terminals)}\n", target)

    def event(self, event: Event) -> None:
        """Prints an event, unless only failures are wanted."""
        if not self._quiet or event["event"] in ("failed", "clean up failed"):
            self._write(pod_tables.event_line(event, None, _WIDTH), output.STDERR)

    def _write(self, text: str, descriptor: int) -> None:
        if descriptor in self._closed:
            return
        try:
            output.write(text, descriptor)
        except OSError:
            self._closed.add(descriptor)


def decoded(text: bytes, terminal: bool) -> str:
    """Returns what a container printed: on a terminal with escapes for control characters, else as it is."""
    line = text.decode("utf-8", "surrogateescape")
    return output.one_line(line) if terminal else line


def log_lines(batch: Sequence[tuple[str, str, str, bytes]], plain: bool, timestamps: bool) -> str:
    """Returns the text of log lines (time, container, stream, text) for stdout. plain: without the names."""
    terminal = os.isatty(output.STDOUT)
    lines = []
    for when, name, _, text in batch:
        line = decoded(text, terminal) + "\n" if plain else f"{name:<{_WIDTH}} | {decoded(text, terminal)}\n"
        lines.append(f"{when} {line}" if timestamps else line)
    return "".join(lines)
