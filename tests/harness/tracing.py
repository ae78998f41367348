# SPDX-License-Identifier: Apache-2.0
"""Traces the system calls of a runtime with strace(1)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness import reaper
from harness.runtime import TIMEOUT, Runtime, wait_until

CALLS = "open,openat,openat2,execve,execveat,clone,clone3,fork,vfork"


def trace(runtime: Runtime, container_id: str, *words: str, cwd: Path | None = None) -> list[str]:
    """Traces one call and all its children, which must succeed. Returns the calls that open, execute or clone.

    strace follows the container's first process, so that of `create` the container is deleted in the end.
    """
    log = runtime.tmp / f"trace-{runtime.number()}"
    done = runtime.tmp / f"done-{runtime.number()}"
    script = f'"$@"; echo $? > {done}'
    argv = [
        "strace",
        "-f",
        "-qq",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
        "/bin/sh",
        "-c",
        script,
        "sh",
        str(runtime.command),
        "--root",
        str(runtime.root),
        *words,
    ]
    with open(runtime.tmp / "trace-err", "wb") as err:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, cwd=cwd)
    reaper.CALLS.add(child.pid)
    wait_until(lambda: done.exists() and done.read_text().strip(), "the traced call", TIMEOUT)
    assert done.read_text().strip() == "0", (runtime.tmp / "trace-err").read_text()
    runtime.ok("delete", "--force", container_id)
    assert reaper.wait_for_call(child, TIMEOUT) is not None, "strace did not end"
    return [line for line in log.read_text().splitlines() if not line.split(maxsplit=1)[1].startswith(("---", "+++"))]


def pid_of(line: str) -> int:
    """Whose call a line of the log is."""
    return int(line.split(maxsplit=1)[0])


def runtime_process(runtime: Runtime, lines: list[str]) -> int:
    """Returns the process that executed the runtime's command."""
    return next(pid_of(line) for line in lines if f'execve("{runtime.command}"' in line)


def children(lines: list[str], parent: int) -> list[int]:
    """Returns the processes, not threads, that one process cloned."""
    found = []
    for index, line in enumerate(lines):
        call = line.split(maxsplit=1)[1]
        if pid_of(line) != parent or not call.startswith(("clone", "fork", "vfork")) or "CLONE_THREAD" in call:
            continue
        if "<unfinished ...>" in line:
            own = (later for later in lines[index + 1 :] if pid_of(later) == parent)
            line = next((later for later in own if "resumed>" in later), "")
        match = re.search(r"\)\s+= (\d+)", line)
        if match:
            found.append(int(match[1]))
    return found
