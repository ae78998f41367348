# SPDX-License-Identifier: Apache-2.0
"""End to end with each runtime: a container by podman, one by containerd's shim, and a pod by the CRI."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness import leaks
from harness.containerd import SETTINGS as CONTAINERD
from harness.containerd import image
from harness.podman import IMAGE, PAUSE_IMAGE, supports
from harness.podman import SETTINGS as PODMAN

from bench.stats import Results
from bench.timer import ENVIRONMENT, TIMEOUT, CallError, collect
from bench.tools import REPOSITORY, Place, Tool

if TYPE_CHECKING:
    from harness.cri import Client


def podman(place: Place, results: Results, rounds: int) -> None:
    """`podman run --rm --network none IMAGE true`, with a storage of our own."""
    command = shutil.which("podman")
    if not command:
        results.skipped["podman run"] = "podman is not installed"
        return
    row = results.row("engines", "podman run true")
    home = place.path / "podman"
    home.mkdir()
    (home / "containers.conf").write_text(PODMAN.format(tmp=home, supports=supports()))
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
    missing = [name for name in ("containerd", "ctr") if not shutil.which(name)]
    if missing:
        results.skipped["ctr run"] = f"{missing[0]} is not installed"
        return
    with _daemon(place.path / "containerd", CONTAINERD) as home:
        _containers(place, results, rounds, home)


@contextlib.contextmanager
def _daemon(home: Path, settings: str) -> Iterator[Path]:
    """Starts a containerd in a new directory."""
    home.mkdir()
    (home / "config.toml").write_text(settings.format(tmp=home))
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["containerd", "--config", str(home / "config.toml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_for(home / "sock")
        yield home
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


def cri(place: Place, results: Results, rounds: int) -> None:
    """A pod of one container through the CRI, as the kubelet makes it: from RunPodSandbox to the container's start,
    to its end, and to the pod's removal.

    The network is the node's: a CNI plugin would cost each runtime the same.
    """
    missing = [name for name in ("containerd", "ctr") if not shutil.which(name)]
    if missing:
        results.skipped["CRI pod"] = f"{missing[0]} is not installed"
        return
    from harness import cri as speaker  # here, for `bench docs` runs without grpcio

    handlers = {tool.name: tool.command for tool in place.tools}
    with _daemon(place.path / "cri", speaker.settings(handlers)) as home:
        for archive in (image(home, place.path / "busybox"), PAUSE_IMAGE):
            argv = [str(shutil.which("ctr")), "--address", str(home / "sock"), "--namespace", speaker.NAMESPACE]
            place.timer.call([*argv, "images", "import", "--snapshotter", "native", str(archive)])
        client = speaker.Client(home / "sock")
        try:
            for turn in range(rounds + 1):
                for tool in place.tools:
                    for step, spent in _pod(place, client, tool, home / "logs", turn).items():
                        if turn:
                            results.row("engines", f"CRI pod to {step}").add(tool.name, spent)
        finally:
            client.close()
    collect()
    leaks.control_groups(f"{place.prefix}-cri")  # the parent, which is the kubelet's affair


def _pod(place: Place, client: Client, tool: Tool, logs: Path, turn: int) -> dict[str, int]:
    """Runs one pod. Returns the nanoseconds from its beginning to each step."""
    from harness.cri import EXITED, container_config, pod_config

    config = pod_config(f"{tool.name}-{turn}", f"/{place.prefix}-cri", logs, namespace_options={"network": "NODE"})
    container = container_config("true", "/bin/true")
    spent, begin = {}, time.perf_counter_ns()
    pod = client.call("RunPodSandbox", config=config, runtime_handler=tool.name).pod_sandbox_id
    made = client.call("CreateContainer", pod_sandbox_id=pod, config=container, sandbox_config=config).container_id
    client.call("StartContainer", container_id=made)
    spent["start"] = time.perf_counter_ns() - begin
    while client.call("ContainerStatus", container_id=made).status.state != EXITED:
        if time.perf_counter_ns() - begin > TIMEOUT * 1e9:
            raise CallError(f"{tool.name}: container {made} did not end in {TIMEOUT:.0f} s")
        time.sleep(0.001)
    spent["exit"] = time.perf_counter_ns() - begin
    client.call("StopPodSandbox", pod_sandbox_id=pod)
    client.call("RemovePodSandbox", pod_sandbox_id=pod)
    spent["removal"] = time.perf_counter_ns() - begin
    collect()
    return spent


def _wait_for(socket: Path) -> None:
    end = time.monotonic() + 20
    while not socket.exists():
        if time.monotonic() > end:
            raise CallError(f"containerd: no socket {socket} after 20 s: {(socket.parent / 'log').read_text()[-500:]}")
        time.sleep(0.01)
