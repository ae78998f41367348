# SPDX-License-Identifier: Apache-2.0
"""No symlink in the directory of a pod is followed, whoever made it: what it names is not read, written or removed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.pods import Pods
from harness.runtime import wait_until

PARTS = (
    ".", "pod.json", "lock", "control", "logs", "logs/a.log", "etc", "etc/hosts", "volumes", "volumes/v", "shm",
    "containers", "containers/a", "containers/a/rootfs", "containers/a/upper",
)  # fmt: skip


@contextmanager
def a_victim(pods: Pods) -> Iterator[Path]:
    """A directory that looks like a pod's and like a part of one, with a mount in it."""
    path = pods.runtime.tmp / "victim"
    for part in ("rootfs", "upper", "work", "a/rootfs", "containers/a/upper", "v", "mounted", "logs"):
        (path / part).mkdir(parents=True, exist_ok=True)
        (path / part / "kept").write_text("kept")
    for name in ("a.log", "pod.json", "hosts", "lock"):
        (path / name).write_text("secret")
    subprocess.run(["mount", "-t", "tmpfs", "victim", path / "mounted"], check=True)
    (path / "mounted/kept").write_text("kept")
    try:
        yield path
    finally:
        subprocess.run(["umount", path / "mounted"], check=True)


def snapshot(path: Path) -> list[tuple[str, int, int, str]]:
    found = []
    for entry in [path, *sorted(path.rglob("*"))]:
        stat = entry.lstat()
        found.append((str(entry), stat.st_mode, stat.st_mtime_ns, entry.read_text() if entry.is_file() else ""))
    return found


@pytest.mark.parametrize("part", PARTS)
def test_planted_in_an_ended_pod(pods: Pods, part: str) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    with a_victim(pods) as victim, pods.start(pods.container("a", "echo x"), volumes=volumes) as pod:
        pod.wait_for_end()
        wait_until(lambda: "its supervisor" not in pods.runtime.call("pod", "stop", pod.name).err, "the end")
        for missing in ("containers/a/rootfs", "containers/a/upper"):
            (pod.path / missing).mkdir(exist_ok=True)
        place = pod.path / part
        is_file = place.is_file()
        if place.exists() and place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        target = victim / place.name if is_file else victim
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            if part == "control":
                target = pods.runtime.tmp / "s"
                listener.bind(str(target))
                listener.listen()
                listener.settimeout(0)
            place.symlink_to(target)
            before = snapshot(victim)
            for words in (
                ("ps",),
                ("inspect", pod.name),
                ("logs", pod.name),
                ("stop", pod.name),
                ("rm", "-f", pod.name),
            ):
                result = pods.runtime.call("pod", *words)
                assert result.code in (0, 1), result
                assert "secret" not in result.out + result.err
            assert snapshot(victim) == before
            if part == "control":
                with pytest.raises(BlockingIOError):
                    listener.accept()
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(pod.path, ignore_errors=True)


def test_in_place_of_the_directory_of_all_pods(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", "true"))
    with a_victim(pods) as victim:
        pods.directory.symlink_to(victim)
        before = snapshot(victim)
        for words in (("run", str(path)), ("run", "-d", str(path)), ("ps",), ("rm", "-f", "mounted")):
            assert "symlink" in pods.runtime.fails("pod", *words)
        assert snapshot(victim) == before
        pods.directory.unlink()


def test_planted_in_a_running_pod(pods: Pods) -> None:
    """A volume and the place where its root file system was mounted, while the pod runs; then it ends."""
    container, volumes = pods.container("a", "echo x; sleep 0.5; exit 1"), [{"name": "v", "emptyDir": {}}]
    with a_victim(pods) as victim, pods.start(container, volumes=volumes) as pod:
        shutil.rmtree(pod.path / "volumes/v")
        (pod.path / "volumes/v").symlink_to(victim)
        (pod.path / "containers/b").symlink_to(victim)
        before = snapshot(victim)
        assert json.loads(pods.runtime.ok("pod", "ps", "-f", "json").out)[0]["phase"] == "Running"
        pod.wait_for_end()
        assert snapshot(victim) == before
        pods.runtime.call("pod", "rm", "--force", pod.name)
        assert snapshot(victim) == before
