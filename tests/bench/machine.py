# SPDX-License-Identifier: Apache-2.0
"""A place to measure in that leaves nothing on the machine, and facts of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

from harness import host

RUN = Path("/run")
CACHE = RUN / "pyoci-cache"


def enter() -> None:
    """Mounts of our own: crun's hugetlb hierarchy, and an empty tmpfs over /run. The runtimes share them.

    /run is a tmpfs on every real host, and there all runtimes keep the state of their containers; here it may be a
    directory on the disk, on which to fsync a state costs milliseconds. Nothing of it is left when this process ends.

    This process also becomes the parent of the containers whose runtime has ended, as conmon is.
    """
    host.become_subreaper()
    host.enter_private_mounts()
    host.give_crun_hugetlb()
    hugetlb = host.CGROUP_ROOT / "hugetlb"
    if not host.unified() and not hugetlb.is_mount():  # a bare directory: crun would put plain files there
        subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", hugetlb], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "bench", RUN], check=True)


def _first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.splitlines()[0] if done.stdout else ""


def facts(commands: dict[str, str], rounds: int) -> dict[str, str | int]:
    """Returns the facts of this machine that a reader of the figures needs."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    made: dict[str, str | int] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "kernel": platform.release(),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count() or 0,
        "cgroups": "v2" if host.unified() else "v1",
        "rounds": rounds,
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
    for name, command in commands.items():
        made[name] = _first_line([command, "--version"])
    launcher = subprocess.run([commands["pyoci"], "--version"], capture_output=True, text=True, check=False).stdout
    made["pyoci"] = ", ".join(
        line for line in launcher.splitlines() if line.startswith(("pyoci", "commit", "launcher"))
    )
    return made
