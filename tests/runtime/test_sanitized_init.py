# SPDX-License-Identifier: Apache-2.0
"""The life of containers with an init in which undefined behaviour traps (build/sanitize/pyoci-init)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.bundle import Bundle, bind, mount
from harness.console import ConsoleSocket
from harness.runtime import REPOSITORY, Runtime

NATIVE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build, with the other init in place of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    made = subprocess.run(
        ["make", "-s", "build/sanitize/pyoci-init"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    build = tmp_path_factory.mktemp("sanitized")
    shutil.copytree(REPOSITORY / "build/lib", build / "lib")
    shutil.copy2(REPOSITORY / "build/pyoci", build / "pyoci")
    (build / "venv").symlink_to(REPOSITORY / "build/venv")
    shutil.copy2(REPOSITORY / "build/sanitize/pyoci-init", build / "lib/pyoci/libexec/pyoci-init")
    return build / "pyoci"


@pytest.fixture
def sanitized(runtime: Runtime, copied: Path) -> Runtime:
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} has no pyoci-init")
    runtime.command = copied
    return runtime


def rich(runtime: Runtime) -> Bundle:
    """Every kind of mount, device, limit and hook that needs nothing of the host but root."""
    (runtime.tmp / "volume/sub").mkdir(parents=True)
    (runtime.tmp / "file").write_text("file\n")
    bundle = runtime.bundle().namespace("cgroup")
    (bundle.rootfs / "link").symlink_to("/hanging/far")
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/passwd").write_text("no:x:1000\nroot:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n")
    bundle.mounts.extend(
        [
            bind(runtime.tmp / "volume", "/volume", "rbind", "rro", "rslave"),
            bind(runtime.tmp / "file", "/file", "ro", "nosuid"),
            bind(runtime.tmp / "file", "/proc/uptime"),
            mount("/link/made", "tmpfs", "tmpfs", "size=64k", "mode=711", "noatime"),
            mount("/locked", "tmpfs", "tmpfs", "ro"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec"),
            mount("/sys", "sysfs", "sysfs", "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro"),
        ]
    )
    bundle.linux["devices"] = [
        {"path": "/dev/my/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 7},
        {"path": "/dev/pipe", "type": "p"},
    ]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.domainname": "domain"}
    bundle.linux["seccomp"] = NATIVE
    bundle.linux["rootfsPropagation"] = "rslave"
    bundle.linux["maskedPaths"] += ["/file", "/volume/sub", "/missing"]
    bundle.linux["readonlyPaths"] += ["/etc", "/missing"]
    bundle.config["hostname"] = "rich"
    bundle.process.update(
        cwd="/home/u/work",
        user={"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
    )
    bundle.process["env"] = ["PATH=/bin::/no/such"]
    for stage in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        bundle.hook(stage, "cat >/dev/null; echo hook >&2", timeout=10)
    bundle.hook("startContainer", "cat >/dev/null; echo hook >&2")
    return bundle


def test_it_is_the_other_init(sanitized: Runtime, copied: Path) -> None:
    container = sanitized.create(sanitized.bundle().args("/bin/true"))
    program = Path(f"/proc/{container.pid}/exe").read_bytes()
    assert program == (copied.parent / "lib/pyoci/libexec/pyoci-init").read_bytes()
    assert program == (REPOSITORY / "build/sanitize/pyoci-init").read_bytes()


SHOW = "echo $HOME; pwd; id -G; umask; hostname; ulimit -n; cat /proc/uptime; cat /proc/sys/net/ipv4/ip_forward"


def test_rich_container(sanitized: Runtime) -> None:
    assert sanitized.output(rich(sanitized).sh(SHOW)).splitlines() == [
        "/home/u", "/home/u/work", "1000 5 6", "0077", "rich", "64", "file", "1",
    ]  # fmt: skip


def test_life_with_exec(sanitized: Runtime) -> None:
    container = sanitized.start(rich(sanitized).args("/bin/sleep", "100"))
    assert container.sh("echo $HOME; pwd").split() == ["/home/u", "/home/u/work"]
    assert container.exec("/bin/sh", "-c", "exit 7", flags=["--user", "0:0", "--cwd", "/"]).code == 7
    assert "not found" in container.exec("missing").err
    container.kill()
    container.wait()
    container.delete()


def test_user_namespace(sanitized: Runtime) -> None:
    bundle = sanitized.bundle().map_users().sh("id -u; cat /proc/self/uid_map; ls /dev/null")
    assert sanitized.output(bundle).split() == ["0", "0", "100000", "65536", "/dev/null"]


def test_joined_namespaces(sanitized: Runtime) -> None:
    other = sanitized.start(sanitized.bundle().args("/bin/sleep", "100"))
    bundle = sanitized.bundle().args("/bin/cat", "/proc/1/cmdline")
    for kind, name in (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        bundle.namespace(kind, f"/proc/{other.pid}/ns/{name}")
    assert sanitized.output(bundle) == "/bin/sleep\x00100\x00"


def test_terminal(sanitized: Runtime) -> None:
    bundle = sanitized.bundle().sh("tty; stty size; sleep 100")
    bundle.process.update(terminal=True, consoleSize={"height": 30, "width": 100})
    with ConsoleSocket(sanitized.tmp / "console") as console:
        container = sanitized.create(bundle, "--console-socket", console.path)
        with console.receive() as terminal:
            container.start()
            assert "30 100" in terminal.read_until("30 100")
            container.kill()
            container.wait()


FAULTS = {
    "mount": lambda bundle: bundle.mounts.append(mount("/x", "nosuchfs", "none")),
    "option": lambda bundle: bundle.mounts.append(mount("/x", "tmpfs", "tmpfs", "size=wrong")),
    "long option": lambda bundle: bundle.mounts.append(mount("/x", "tmpfs", "tmpfs", f"{'k' * 200}=v")),
    "source": lambda bundle: bundle.mounts.append(bind("/no/such/source", "/x")),
    "loop": lambda bundle: bundle.mounts.append(mount("/loop/x", "tmpfs", "tmpfs")),
    "long name": lambda bundle: bundle.mounts.append(mount(f"/{'n' * 300}", "tmpfs", "tmpfs")),
    "on proc": lambda bundle: bundle.mounts.append(mount("/pl/self", "tmpfs", "tmpfs")),
    "program": lambda bundle: bundle.args("/no/such/program"),
    "search": lambda bundle: bundle.args("nothing-of-this-name"),
    "cwd": lambda bundle: bundle.process.update(cwd="/bin/busybox/x"),
    "hook": lambda bundle: bundle.hook("createContainer", "echo reason >&2; exit 3"),
    "slow hook": lambda bundle: bundle.hook("createContainer", "sleep 60", timeout=1),
    "device": lambda bundle: bundle.linux.update(devices=[{"path": "/bin", "type": "c", "major": 1, "minor": 3}]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(sanitized: Runtime, name: str) -> None:
    """Each error is reported by init, in words; a trap would end it by a signal."""
    bundle = sanitized.bundle().args("/bin/true")
    (bundle.rootfs / "loop").symlink_to("/loop")
    (bundle.rootfs / "pl").symlink_to("/proc")
    FAULTS[name](bundle)
    error = sanitized.refuses(bundle)
    assert "signal" not in error
    assert "without a message" not in error
