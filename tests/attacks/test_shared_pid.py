# SPDX-License-Identifier: Apache-2.0
"""A member of a shared PID namespace looks at those who join it."""

from __future__ import annotations

import pytest
from harness.bundle import bind, mount
from harness.runtime import Runtime

PEERS = 12
WATCH = """
echo up
while :; do
    for p in /proc/[0-9]*; do
        [ -e $p/root/%(marker)s ] && echo found $p/root
        [ -e $p/cwd/%(marker)s ] && echo found $p/cwd
    done
done
"""


def test_no_host_behind_a_peer(runtime: Runtime) -> None:
    """As CVE-2016-9962: with CAP_SYS_PTRACE, /proc/PID/root of a peer in creation must never be the host's."""
    (runtime.tmp / "marker").write_text("host\n")
    marker = str(runtime.tmp / "marker").lstrip("/")
    bundle = runtime.bundle().capabilities("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT")
    watcher = runtime.start(bundle.sh(WATCH % {"marker": marker}))
    watcher.wait_for("up")
    for _ in range(PEERS):
        peer = runtime.bundle().args("/bin/true").namespace("pid", f"/proc/{watcher.pid}/ns/pid")
        peer.mounts.extend(mount(f"/many/{number}", "tmpfs", "tmpfs") for number in range(60))  # time to be looked at
        assert runtime.run(peer).code == 0
    assert "found" not in watcher.output


@pytest.mark.parametrize("destination", ["/work/../proc", "/proc/../proc", "/./proc/."])
def test_bind_on_proc_by_another_name(runtime: Runtime, destination: str) -> None:
    """Only a procfs may stand at /proc, whatever its name in the config."""
    bundle = runtime.bundle().args("/bin/true")
    (bundle.rootfs / "work").mkdir(exist_ok=True)
    volume = runtime.tmp / "volume"
    volume.mkdir()
    bundle.config["mounts"] = [bind(volume, destination, "rbind")]
    runtime.refuses(bundle)
