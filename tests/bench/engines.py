# SPDX-License-Identifier: Apache-2.0
"""End to end: a container by podman, and one by containerd's shim, with each runtime."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path

from harness import leaks
from harness.containerd import SETTINGS as CONTAINERD
from harness.podman import IMAGE
from harness.podman import SETTINGS as PODMAN

from bench.stats import Results
from bench.timer import ENVIRONMENT, CallError, collect
from bench.tools import REPOSITORY, Place

NO_CRI = "a client of the CRI (crictl) is not in Debian; `ctr run` goes through the same shim"


def podman(place: Place, results: Results, rounds: int) -> None:
    """`podman run --rm --network none IMAGE true`, with a storage of our own."""
    command = shutil.which("podman")
    if not command:
        results.skipped["podman run"] = "podman is not installed"
        return
    row = results.row("engines", "podman run true")
    home = place.path / "podman"
    home.mkdir()
    (home / "containers.conf").write_text(PODMAN.format(tmp=home))
    environment = {**ENVIRONMENT, "HOME": str(home), "CONTAINERS_CONF": str(home / "containers.conf")}
    base = [
        command,
        "--root",
        str(home / "root"),
        "--runroot",
        str(home / "run"),
        "--tmpdir",
        str(home / "tmp"),
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
    ]
    subprocess.run(["tar", "-C", str(place.rootfs), "-cf", str(home / "box.tar"), "."], check=True)
    place.timer.call([*base, "import", str(home / "box.tar"), IMAGE], environment)
    for turn in range(rounds + 1):
        for tool in place.tools:
            argv = [
                *base,
                "--runtime",
                tool.command,
                "run",
                "--rm",
                "--network",
                "none",
                "--cgroup-parent",
                f"/{place.prefix}",
                IMAGE,
                "/bin/true",
            ]
            spent = place.timer.call(argv, environment)
            collect()
            if turn:
                row.add(tool.name, spent)
    place.timer.call([*base, "rm", "--all", "--force", "--time", "0"], environment)
    leaks.mounts(home)  # podman keeps its own until a reboot
    leaks.control_groups(place.prefix)  # and its parent cgroup


def containerd(place: Place, results: Results, rounds: int) -> None:
    """`ctr run --rm IMAGE true` through containerd-shim-runc-v2, with a containerd of our own."""
    results.skipped["CRI pod"] = NO_CRI
    missing = [name for name in ("containerd", "ctr") if not shutil.which(name)]
    if missing:
        results.skipped["ctr run"] = f"{missing[0]} is not installed"
        return
    home = place.path / "containerd"
    home.mkdir()
    (home / "config.toml").write_text(CONTAINERD.format(tmp=home))
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["containerd", "--config", str(home / "config.toml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_for(home / "sock")
        _containers(place, results, rounds, home)
    finally:
        daemon.terminate()
        descriptor = os.pidfd_open(daemon.pid)
        if not select.select([descriptor], [], [], 20)[0]:
            daemon.kill()
        os.close(descriptor)
        daemon.wait()
        leaks.mounts(home)


def _containers(place: Place, results: Results, rounds: int, home: Path) -> None:
    row = results.row("engines", "ctr run true")
    ctr = [str(shutil.which("ctr")), "--address", str(home / "sock"), "--namespace", "bench"]
    image = home / "image.tar"
    argv = [
        "/usr/bin/python3",
        "-I",
        str(REPOSITORY / "bundles/image.py"),
        "--rootfs",
        str(place.rootfs),
        "--output",
        str(image),
        "--name",
        IMAGE,
        "--env=PATH=/bin",
        "--command=/bin/sh",
    ]
    subprocess.run(argv, check=True, timeout=30)
    place.timer.call([*ctr, "images", "import", "--snapshotter", "native", str(image)])
    for turn in range(rounds + 1):
        for tool in place.tools:
            name = f"{place.prefix}-{tool.name}-{turn}"
            spent = place.timer.call(
                [
                    *ctr,
                    "run",
                    "--rm",
                    "--snapshotter",
                    "native",
                    "--runc-binary",
                    tool.command,
                    "--cgroup",
                    f"/{name}",
                    IMAGE,
                    name,
                    "/bin/true",
                ]
            )
            if turn:
                row.add(tool.name, spent)


def _wait_for(socket: Path) -> None:
    end = time.monotonic() + 20
    while not socket.exists():
        if time.monotonic() > end:
            raise CallError(f"containerd: no socket {socket} after 20 s: {(socket.parent / 'log').read_text()[-500:]}")
        time.sleep(0.01)
