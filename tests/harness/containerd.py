# SPDX-License-Identifier: Apache-2.0
"""A containerd for the tests, in a temporary directory. Its shim calls the runtime under test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import inspection, leaks, reaper
from harness.podman import archive_of_busybox
from harness.runtime import COMMAND, REPOSITORY, wait_until

IMAGE = "localhost/box:1"
NAMESPACE = "pyoci-test"
SETTINGS = """
version = 2
root = "{tmp}/root"
state = "{tmp}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{tmp}/sock"
[ttrpc]
  address = "{tmp}/ttrpc"
"""


def image(directory: Path, busybox: Path) -> Path:
    """Returns an OCI archive of busybox, by the project's own image maker."""
    archive_of_busybox(directory, busybox)
    output = directory / "image.tar"
    argv = [
        "/usr/bin/python3",
        "-I",
        str(REPOSITORY / "bundles/image.py"),
        "--rootfs",
        str(directory / "box"),
        "--output",
        str(output),
        "--name",
        IMAGE,
        "--env=PATH=/bin",
        "--command=/bin/sh",
    ]
    subprocess.run(argv, check=True, timeout=30)
    return output


class Containerd:
    """One running containerd; `close` ends it, and says what was left of the containers."""

    def __init__(self, busybox: Path, settings: str = SETTINGS, namespace: str = NAMESPACE) -> None:
        self.tmp = Path(tempfile.mkdtemp(prefix=f"pt{os.getpid()}ctr-"))
        self.namespace = namespace
        self.parent = namespace  # of the containers' control groups
        (self.tmp / "config.toml").write_text(settings.format(tmp=self.tmp))
        self.count = 0
        self.daemon = self.start_daemon()
        self.ok("images", "import", "--snapshotter", "native", str(image(self.tmp, busybox)))

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """Starts the daemon and waits for its socket."""
        with open(self.tmp / "log", "ab") as log:
            argv = ["containerd", "--config", str(self.tmp / "config.toml")]
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        reaper.CALLS.add(daemon.pid)
        wait_until((self.tmp / "sock").exists, "containerd's socket", 20)
        return daemon

    def stop_daemon(self) -> None:
        """Ends the daemon; its shims and their containers go on."""
        self.daemon.terminate()
        if reaper.wait_for_call(self.daemon, 10) is None:
            self.daemon.kill()
            self.daemon.wait()

    def call(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Calls ctr; output goes to files, as the shim may outlive the call."""
        self.count += 1
        out, err = self.tmp / f"call-{self.count}.out", self.tmp / f"call-{self.count}.err"
        argv = ["ctr", "--address", str(self.tmp / "sock"), "--namespace", self.namespace, *args]
        with open(out, "wb") as out_file, open(err, "wb") as err_file:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file)
        reaper.CALLS.add(child.pid)
        code = reaper.wait_for_call(child, timeout)
        if code is None:
            child.kill()
            child.wait()
            raise AssertionError(f"ctr {' '.join(args)} did not end: {out.read_text()!r} {err.read_text()!r}")
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())

    def ok(self, *args: str) -> str:
        """Calls ctr, which must succeed; its standard output."""
        done = self.call(*args)
        assert done.returncode == 0, (done, (self.tmp / "log").read_text()[-2000:])
        return done.stdout

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`ctr run` with the runtime under test; flags, image, ID and command in `args`."""
        return self.call("run", "--snapshotter", "native", "--runc-binary", str(COMMAND), *args)

    def remove_all(self) -> None:
        """Ends and removes every task and container."""
        for line in self.ok("containers", "list", "--quiet").split():
            self.call("tasks", "delete", "--force", line)
            self.ok("containers", "delete", line)

    def close(self) -> list[str]:
        """Ends the daemon and its shims; what was left behind of containers, by name."""
        self.remove_all()
        shims = [pid for pid in inspection.descendants(os.getpid()) if pid != self.daemon.pid and inspection.alive(pid)]
        self.stop_daemon()
        left = [f"shim or process {pid}" for pid in shims if inspection.alive(pid)]
        leaks.processes(set())
        groups = leaks.control_groups(self.parent)  # the parent itself is containerd's own affair
        left += [group for group in groups if not group.endswith(f"/{self.parent}")]
        leaks.mounts(self.tmp)
        shutil.rmtree(self.tmp)
        return left
