# SPDX-License-Identifier: Apache-2.0
"""``ps``: the processes of a container, as PIDs of the host, or as the program ps(1) shows them."""

from __future__ import annotations

import os
import time

from pyoci import native
from pyoci.container.processes import expect_children
from pyoci.container.state import State
from pyoci.errors import CgroupError, PyociError, plain, reason
from pyoci.kernel.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root

PROGRAM = "ps"
USUAL = ("-ef",)  # the arguments of ps(1) if none are given
_PLACES = "/usr/local/bin:/usr/bin:/bin"  # callers may have no PATH
_SECONDS = 5.0
_SHOWN = 200


def processes(root: Root, container_id: str) -> list[int]:
    """Returns the PIDs of all processes of the container, none if it has ended. Raises NotFound, CgroupError."""
    group = State.load(root, container_id).group()
    if group.manager == "disabled":
        raise CgroupError(f"ps {container_id}: the container was created with the cgroup manager disabled")
    return sorted(set(group.pids()))


def table(pids: list[int], args: list[str]) -> str:
    """Returns the lines that ps(1) prints about these processes, with its heading. args: for ps. Raises PyociError."""
    heading, *lines = _output(args or [*USUAL]).splitlines() or [""]
    titles = heading.split()
    if "PID" not in titles:
        hint = "choose a format with one, such as -o pid,args"
        raise PyociError(f"ps {' '.join(args)}: its output has no column PID; {hint}")
    column, wanted = titles.index("PID"), set(map(str, pids))
    shown = [line for line in lines if wanted.intersection(line.split()[column : column + 1])]
    return "".join(f"{line}\n" for line in [heading, *shown])


def _output(args: list[str]) -> str:
    """Returns what ps(1) prints. Raises PyociError if it fails, or does not end."""
    program = _program()
    expect_children()
    output, end = os.pipe2(os.O_CLOEXEC)
    empty = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = native.spawn_hook(program, [PROGRAM, *args], None, empty, end)
    except OSError as error:
        os.close(output)
        raise PyociError(f"{program}: cannot be run: {reason(error)}") from error
    finally:
        os.close(end)
        os.close(empty)
    try:
        text = _read(output, time.monotonic() + _SECONDS)
    finally:
        os.close(output)
        if not _ended(pid):
            os.kill(pid, SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        last = text.strip().partition("\n")[0]
        raise PyociError(f"ps {' '.join(args)}: exit status {status}: {plain(last, _SHOWN)}")
    return text


def _read(output: int, deadline: float) -> str:
    """Returns everything that is written to a pipe until its end. Raises PyociError at the deadline."""
    read = b""
    while native.wait_readable(output, max(0, int((deadline - time.monotonic()) * 1000))):
        piece = os.read(output, 65536)
        if not piece:
            return read.decode("utf-8", "surrogateescape")
        read += piece
    raise PyociError(f"ps: the program did not end within {_SECONDS:.0f} s")


def _ended(pid: int) -> bool:
    """Returns whether a child has ended, or does so in a moment: its output has ended already."""
    pidfd = native.pidfd_open(pid)
    try:
        return native.wait_readable(pidfd, 1000)
    finally:
        os.close(pidfd)


def _program() -> str:
    for place in (os.environ.get("PATH") or _PLACES).split(":"):
        path = f"{place}/{PROGRAM}"
        if place.startswith("/") and os.access(path, os.X_OK):
            return path
    raise PyociError("ps: the host has no program ps; install it (procps), or use --format json")
