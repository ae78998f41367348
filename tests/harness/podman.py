# SPDX-License-Identifier: Apache-2.0
"""A podman for the tests, with its storage in a temporary directory. It calls the runtime under test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from harness import host, leaks, reaper
from harness.bundle import make_rootfs
from harness.runtime import COMMAND, REPOSITORY

PAUSE_IMAGE = REPOSITORY / "build/bundles/pause-image.tar"
PAUSE_NAME = "localhost/pyoci-pause:0.1"
IMAGE = "localhost/box:1"
SETTINGS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
{supports}
tmp_dir = "{tmp}/tmp"
[network]
network_config_dir = "{tmp}/networks"
"""


def archive_of_busybox(directory: Path, busybox: Path) -> Path:
    """Returns a tar file with a root file system, for `podman import` and our own image."""
    make_rootfs(directory / "box", busybox)
    path = directory / "box.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(directory / "box", arcname=".")
    return path


def supports() -> str:
    """Returns what the drop-in that `make install` ships tells podman of runtimes."""
    lines = (REPOSITORY / "packaging/pyoci.conf.in").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("runtime_supports_"))


class Podman:
    """One podman installation; `close` takes everything away and says what was left of the containers."""

    def __init__(self, busybox: Path) -> None:
        self.tmp = Path(tempfile.mkdtemp(prefix=f"pt{os.getpid()}pod-"))
        settings = self.tmp / "containers.conf"
        settings.write_text(SETTINGS.format(tmp=self.tmp, supports=supports()))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.tmp), "CONTAINERS_CONF": str(settings)}
        self.flags = [
            "--root",
            str(self.tmp / "root"),
            "--runroot",
            str(self.tmp / "run"),
            "--tmpdir",
            str(self.tmp / "tmp"),
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--runtime",
            str(COMMAND),
        ]
        self.count = 0
        self.pods: list[str] = []
        self.bare = host.bare_directories()
        self.ok("import", str(archive_of_busybox(self.tmp, busybox)), IMAGE)
        self.ok("load", "--quiet", "--input", str(PAUSE_IMAGE))

    def call(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Calls podman. Its output goes to files: a container's monitor outlives the call and may hold a pipe."""
        self.count += 1
        out, err = self.tmp / f"call-{self.count}.out", self.tmp / f"call-{self.count}.err"
        argv = ["podman", *self.flags, *args]
        with open(out, "wb") as out_file, open(err, "wb") as err_file:
            child = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file
            )
        reaper.CALLS.add(child.pid)
        code = reaper.wait_for_call(child, timeout)
        if code is None:
            child.kill()
            child.wait()
            raise AssertionError(
                f"podman {' '.join(args)} did not end in {timeout} s: {out.read_text()!r} {err.read_text()!r}"
            )
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())

    def ok(self, *args: str) -> str:
        """Calls podman, which must succeed; its standard output."""
        done = self.call(*args)
        assert done.returncode == 0, done
        return done.stdout

    def pod(self, name: str, *flags: str) -> None:
        """Makes a pod with our pause as its infra container, and without a network."""
        flags = ("--infra-image", PAUSE_NAME, "--network", "none", *flags)
        self.pods.append(self.ok("pod", "create", "--name", name, *flags).strip())

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`podman run --rm` without a network; flags, then the image and the command in `args`."""
        return self.call("run", "--rm", "--network", "none", *args)

    def remove_all(self) -> None:
        """Ends and removes every container and pod."""
        self.ok("pod", "rm", "--all", "--force", "--time", "0")
        self.ok("rm", "--all", "--force", "--time", "0")

    def containers(self) -> list[str]:
        """IDs of all containers that there ever were."""
        flags = ("--stream=false", "--filter", "event=create", "--filter", "type=container", "--format", "{{.ID}}")
        return self.ok("events", *flags).split()

    def close(self) -> list[str]:
        """Removes the installation; what was left behind of its containers, by name."""
        self.remove_all()
        containers = self.containers()
        left = leaks.processes(set())
        left += [group for container in containers for group in leaks.control_groups(f"libpod-{container}")]
        self._remove_parents()
        leaks.mounts(self.tmp)
        shutil.rmtree(self.tmp)
        return left

    def _remove_parents(self) -> None:
        """Takes away what podman itself leaves until a reboot: its pods' control groups, and those above them."""
        for pod in self.pods:
            leaks.control_groups(pod)
        for controller in host.controllers():
            for name in ("libpod_parent/conmon", "libpod_parent"):
                with contextlib.suppress(OSError):  # absent, or another podman's
                    os.rmdir(host.CGROUP_ROOT / controller / name)
        for path in host.bare_directories() - self.bare:
            shutil.rmtree(path, ignore_errors=True)  # it may have become a mount
