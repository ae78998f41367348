# SPDX-License-Identifier: Apache-2.0
"""Device nodes: the letters of their kinds, and the default devices (config-linux.md, "Default Devices")."""

from __future__ import annotations

S_IFIFO, S_IFCHR, S_IFBLK = 0o010000, 0o020000, 0o060000

# "u" is an unbuffered character device, as in mknod(1).
KINDS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}
# name, major, minor
DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
# path, target
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)
