# SPDX-License-Identifier: Apache-2.0
"""Finds what a test left behind. A runtime that leaves something behind has failed the test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness import host, inspection, reaper


def processes(spare: set[int]) -> list[str]:
    """Descendants of this process that still run, apart from `spare`; they are ended, and named."""
    reaper.collect()
    left = [pid for pid in inspection.descendants(os.getpid()) if pid not in spare and inspection.alive(pid)]
    # The kernel ends an init whose runtime was killed (PR_SET_PDEATHSIG), and that takes it a moment.
    left = [pid for pid in left if not reaper.wait_for_end(pid, 1)]
    names = []
    for pid in left:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue
        names.append(f"process {pid}: {command}")
    for pid in left:
        reaper.wait_for_end(pid, 5)
    return names


def control_groups(prefix: str) -> list[str]:
    """Control groups whose name holds `prefix`, in any hierarchy; they are removed, and named."""
    found = []
    for controller in host.controllers():
        for directory, names, _ in os.walk(host.CGROUP_ROOT / controller):
            found += [os.path.join(directory, name) for name in names if prefix in name]
    for path in found:
        for directory, names, _ in os.walk(path, topdown=False):
            for name in names:
                os.rmdir(os.path.join(directory, name))
        os.rmdir(path)
    return [f"cgroup {path}" for path in found]


def mounts(directory: Path) -> list[str]:
    """Mounts below `directory` in this mount namespace; they are taken away, and named."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4].encode().decode("unicode_escape")
        if target == str(directory) or target.startswith(f"{directory}/"):
            found.append(target)
    for target in reversed(found):
        os.spawnvp(os.P_WAIT, "umount", ["umount", "-l", target])
    return [f"mount {target}" for target in found]


def state(root: Path) -> list[str]:
    """Files of containers below a runtime's root; a cache (a name with a dot in front) is none."""
    if not root.exists():
        return []
    return [f"state {entry}" for entry in root.iterdir() if not entry.name.startswith(".")]
