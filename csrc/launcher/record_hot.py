# SPDX-License-Identifier: Apache-2.0
"""Writes hot.txt, the functions that verbs call: ``make hot``, as root, after ``make``. See hot.py for what it is for.

Takes the directory of the built package. Runs each verb that engines call on a container of busybox, as an engine
would call it, and notes every Python function that is entered: once on the host's control groups, which have to be
those of cgroup v1, and once on cgroup v2, in a mount namespace of its own. A function that is missing in hot.txt costs
a page fault or two; one that is listed in vain costs a few hundred bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from make_image import LEFT_OUT  # noqa: E402 - found through the path above

BUSYBOX = "/bin/busybox"
CGROUPS = "/sys/fs/cgroup"
LIMITS = {
    "memory": {"limit": 1 << 28, "swap": 1 << 28},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "pids": {"limit": 2048},
}
SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ERRNO",
            # no filter is compiled twice: its program is cached
            "args": [{"index": 0, "value": int(time.time()), "op": "SCMP_CMP_EQ"}],
        },
    ],
}


def call(main: Callable[[list[str]], int], words: list[str]) -> set[str]:
    """Returns one command in a process of its own; the functions it entered. Raises SystemExit if it fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found: set[str] = set()

        def note(frame: FrameType, event: str, argument: object) -> None:
            if event == "call":
                found.add(f"{frame.f_code.co_filename}\t{frame.f_code.co_qualname}")

        os.close(reader)
        sys.setprofile(note)
        status = main(words)
        sys.setprofile(None)
        with os.fdopen(writer, "w", encoding="utf-8") as pipe:
            pipe.write("\n".join(found))
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        lines = set(pipe.read().splitlines())
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"record_hot: failed: pyoci {' '.join(words)}")
    return lines


def bundle(directory: str, default: Callable[[], Any], *arguments: str) -> str:
    """Returns a bundle whose program is busybox; its path. One that is called `limited` has limits, and a hook."""
    os.makedirs(f"{directory}/rootfs/bin")
    shutil.copy2(BUSYBOX, f"{directory}/rootfs/bin/busybox")
    config = default()
    config["process"].update(args=["/bin/busybox", *arguments], terminal=False)
    config["linux"].update(seccomp=SECCOMP, cgroupsPath="/pyoci-record-hot")
    if directory.endswith("limited"):
        config["linux"]["resources"].update({kind: LIMITS[kind] for kind in controllers()})
        config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory


def controllers() -> list[str]:
    """Those of LIMITS that can be had: a v2 mount on a v1 host has no controllers."""
    path = f"{CGROUPS}/cgroup.controllers"
    if not os.path.exists(path):
        return list(LIMITS)
    with open(path, encoding="ascii") as file:
        return [kind for kind in file.read().split() if kind in LIMITS]


def wait_for_end(pid_file: str) -> None:
    """Until the process of a pid file has ended and was reaped; at most ten seconds."""
    with open(pid_file, encoding="ascii") as file:
        process = f"/proc/{file.read()}"
    end = time.monotonic() + 10
    while os.path.exists(process) and time.monotonic() < end:
        time.sleep(0.01)


def import_all(package: str) -> None:
    """Imports what the image has in it, so that importing is not noted."""
    for directory, _, files in os.walk(os.path.join(package, "pyoci")):
        for file in files:
            name = os.path.relpath(os.path.join(directory, file), package)[:-3].replace("/", ".")
            if file.endswith(".py") and not name.startswith(LEFT_OUT):
                __import__(name.removesuffix(".__init__"))


def record(place: str) -> tuple[set[str], set[str]]:
    """Returns the functions that verbs enter, and those that they enter only when they compile a filter, or when the
    container has limits and a hook."""
    from pyoci.cli.main import main
    from pyoci.config.default import config

    process = config()["process"] | {"args": ["/bin/busybox", "true"], "terminal": False}
    with open(f"{place}/process.json", "w", encoding="utf-8") as file:
        json.dump(process, file)
    sleeper, true = bundle(f"{place}/sleep", config, "sleep", "1000"), bundle(f"{place}/true", config, "true")
    flags = ["--root", f"{place}/root", "--log", f"{place}/log", "--log-format", "json"]
    rounds: list[set[str]] = []
    for _ in range(2):  # the second time seccomp's program comes from the cache
        found: set[str] = set()
        rounds.append(found)
        for words in (
            ["create", "--bundle", sleeper, "--pid-file", f"{place}/pid", "one"],
            ["start", "one"],
            ["state", "one"],
            ["list"],
            ["exec", "one", "/bin/busybox", "true"],
            ["exec", "--detach", "--process", f"{place}/process.json", "--pid-file", f"{place}/pid2", "one"],
            ["kill", "one", "KILL"],
        ):
            found |= call(main, [*flags, *words])
        wait_for_end(f"{place}/pid")
        found |= call(main, [*flags, "delete", "one"])
        found |= call(main, [*flags, "run", "--bundle", true, "two"])
    limited = call(main, [*flags, "run", "--bundle", bundle(f"{place}/limited", config, "true"), "three"])
    return rounds[1], (rounds[0] | limited) - rounds[1]


def record_here(package: str) -> None:
    """Records on the control groups that are mounted, and prints the lines of hot.txt."""
    sys.path.insert(0, package)
    import_all(package)
    place = tempfile.mkdtemp(prefix="pyoci-record-hot-")
    try:
        hot, warm = record(place)
    finally:
        shutil.rmtree(place)
    for kind, found in (("hot", hot), ("warm", warm)):
        for line in found:
            print(f"{line.removeprefix(package.rstrip('/') + '/')}\t{kind}")


def recorded(command: list[str]) -> set[str]:
    """Returns what a process that calls record_here printed."""
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout.splitlines()
    # The standard library's modules that are frozen in are called <frozen NAME>, in each Python alike.
    return {line for line in lines if line.startswith(("pyoci/", "<frozen ")) and "<module>" not in line}


def run(package: str) -> None:
    """Records on cgroup v1 and v2, and writes hot.txt beside this file. Raises SystemExit."""
    if os.path.exists(f"{CGROUPS}/cgroup.controllers"):
        raise SystemExit("record_hot: this host has cgroup v2 alone: the functions for v1 would be lost")
    here = [sys.executable, os.path.abspath(__file__), package, "here"]
    mounts = f'umount -Rl {CGROUPS} && mount -t cgroup2 cgroup2 {CGROUPS} && exec "$@"'
    v2 = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts, "sh", *here]
    lines = recorded(here) | recorded(v2)
    lines -= {line for line in lines if line.endswith("\twarm") and line.removesuffix("warm") + "hot" in lines}
    with open(os.path.join(HERE, "hot.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in sorted(lines))
    print(f"record_hot: {len(lines)} functions", file=sys.stderr)


if __name__ == "__main__":
    (record_here if sys.argv[2:] else run)(os.path.abspath(sys.argv[1]))
