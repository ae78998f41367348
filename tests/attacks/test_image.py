# SPDX-License-Identifier: Apache-2.0
"""Symlinks and devices of a hostile image, and mounts over what the kernel's files are there for."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.bundle import Bundle, bind, mount
from harness.console import ConsoleSocket
from harness.runtime import Runtime


def snapshot(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Everything below a directory: mode, modification time and content."""
    found = {}
    for parent, names, files in os.walk(directory):
        for path in (Path(parent) / name for name in [*names, *files]):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    status = directory.lstat()
    found[str(directory)] = (status.st_mode, status.st_mtime_ns, "")
    return found


@pytest.fixture
def outside(runtime: Runtime) -> Path:
    """A directory of the host that no container may change."""
    path = runtime.tmp / "outside"
    (path / "sub").mkdir(parents=True)
    for name in ("file", "null", "ptmx", "console", "sub/file"):
        (path / name).write_text("host\n")
    return path


def run_hostile(runtime: Runtime, bundle: Bundle) -> None:
    """Runs a bundle, which may be refused; either way it ends soon."""
    result = runtime.run(bundle, timeout=10)
    assert "Traceback" not in result.err, result
    runtime.call("delete", "--force", bundle.name)


def without_dev(bundle: Bundle) -> Bundle:
    """Without a mount on /dev, the image's own directory is used."""
    bundle.config["mounts"] = [entry for entry in bundle.mounts if not entry["destination"].startswith("/dev")]
    return bundle


@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/1", "/pl/sys", "/work/../proc/self"]
)
def test_mount_over_proc(runtime: Runtime, destination: str) -> None:
    """CVE-2019-16884, 2019-19921, 2023-27561: labels and sysctls would be written to the image's files."""
    bundle = runtime.bundle().args("/bin/true")
    volume = runtime.tmp / "volume"
    volume.mkdir()
    (bundle.rootfs / "pl").symlink_to("/proc")
    bundle.mounts.append(bind(volume, destination, "rbind"))
    runtime.refuses(bundle)


def test_tmpfs_over_proc(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/true")
    bundle.mounts.append(mount("/proc/sys", "tmpfs", "tmpfs"))
    runtime.refuses(bundle)


@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "uptime", "stat", "loadavg", "swaps", "diskstats"])
def test_lxcfs_may_mount_over_proc(runtime: Runtime, name: str) -> None:
    bundle = runtime.bundle().args("/bin/cat", f"/proc/{name}")
    (runtime.tmp / "fake").write_text("fake\n")
    bundle.mounts.append(bind(runtime.tmp / "fake", f"/proc/{name}"))
    assert runtime.output(bundle) == "fake\n"


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_link_in_place_of_proc(runtime: Runtime, name: str) -> None:
    """CVE-2023-28642: the image's /proc or /sys is a symlink."""
    bundle = runtime.bundle().args("/bin/true")
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / name).symlink_to("/elsewhere")
    runtime.refuses(bundle)


MADE: dict[str, dict[str, Any]] = {
    "directory mount": {"mounts": [mount("/link/made", "tmpfs", "tmpfs")]},
    "directory mount over": {"mounts": [mount("/link/sub", "tmpfs", "tmpfs")]},
    "directory mount at the link": {"mounts": [mount("/link", "tmpfs", "tmpfs")]},
    "file mount": {"mounts": [bind("/etc/hostname", "/link/made")]},
    "file mount over": {"mounts": [bind("/etc/hostname", "/link/file")]},
    "deep mount": {"mounts": [mount("/link/a/b/c", "tmpfs", "tmpfs")]},
    "relative link": {"mounts": [mount("/up/made", "tmpfs", "tmpfs")]},
    "cwd": {"cwd": "/link/made"},
    "device": {"devices": [{"path": "/link/made", "type": "c", "major": 1, "minor": 3}]},
    "device over": {"devices": [{"path": "/link/file", "type": "c", "major": 1, "minor": 3}]},
    "masked": {"maskedPaths": ["/link/file", "/link/sub"]},
    "read-only": {"readonlyPaths": ["/link", "/link/sub"]},
}


@pytest.mark.parametrize("name", MADE)
def test_link_to_the_host(runtime: Runtime, outside: Path, name: str) -> None:
    """CVE-2019-18837, podman CVE-2025-24965: whatever is made behind a symlink is made in the container."""
    before = snapshot(outside)
    bundle = runtime.bundle().args("/bin/true")
    (bundle.rootfs / "link").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to(f"../../../../../..{outside}")
    for key, value in MADE[name].items():
        if key == "mounts":
            bundle.mounts.extend(value)
        elif key == "cwd":
            bundle.process["cwd"] = value
        else:
            bundle.linux[key] = value
    run_hostile(runtime, bundle)
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", ["dev", "etc", "work", "tmp", "root"])
def test_directory_that_is_a_link(runtime: Runtime, outside: Path, name: str) -> None:
    """CVE-2026-41579: R/dev leads to the host, and no mount stands on /dev."""
    before = snapshot(outside)
    bundle = without_dev(runtime.bundle().args("/bin/true"))
    path = bundle.rootfs / name
    path.rename(runtime.tmp / f"old-{name}")
    path.symlink_to(outside)
    bundle.process["cwd"] = "/work"
    run_hostile(runtime, bundle)
    assert snapshot(outside) == before


def test_links_in_dev(runtime: Runtime, outside: Path) -> None:
    """Each node and link that the runtime makes in /dev is a symlink to the host already."""
    before = snapshot(outside)
    bundle = without_dev(runtime.bundle().args("/bin/true"))
    for name in (
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "core",
        "console",
    ):
        (bundle.rootfs / "dev" / name).symlink_to(outside / "file")
    run_hostile(runtime, bundle)
    assert snapshot(outside) == before


@pytest.mark.parametrize("by", ["image", "hook"])
def test_null_that_is_a_link(runtime: Runtime, outside: Path, by: str) -> None:
    """CVE-2025-31133: a mask is the real null device or nothing; the link's target is neither bound nor written."""
    bundle = runtime.bundle().sh("stat -c %t:%T /work/victim; cat /work/victim; echo x > /work/victim")
    (bundle.rootfs / "work/victim").write_text("victim\n")
    bundle.linux["maskedPaths"] = ["/work/victim"]
    if by == "image":
        without_dev(bundle)
        (bundle.rootfs / "dev/null").symlink_to(outside / "file")
        (bundle.rootfs / str(outside / "file").lstrip("/")).parent.mkdir(parents=True)
        (bundle.rootfs / str(outside / "file").lstrip("/")).write_text("image\n")
    else:
        target = "/proc/sys/kernel/domainname"
        bundle.hook("createContainer", f"rm {bundle.rootfs}/dev/null && ln -s {target} {bundle.rootfs}/dev/null")
    before = snapshot(outside)
    domain = Path("/proc/sys/kernel/domainname").read_text()
    result = runtime.run(bundle, timeout=5)
    assert result.code != 0 or result.out == "1:3\n", result
    assert "image" not in result.out
    assert snapshot(outside) == before
    assert Path("/proc/sys/kernel/domainname").read_text() == domain


@pytest.mark.parametrize("command", ["touch", "mkfifo", "mkdir", "mknod -m 666 {} c 1 5;:"])
def test_null_that_is_something_else(runtime: Runtime, command: str) -> None:
    """Exchanged after the nodes were made: a mask by another device, or by a file, would show what that holds."""
    bundle = runtime.bundle().sh("stat -c %t:%T /work/victim; head -c 1 /work/victim | od -An -tx1")
    (bundle.rootfs / "work/victim").write_text("victim\n")
    bundle.linux["maskedPaths"] = ["/work/victim"]
    null = f"{bundle.rootfs}/dev/null"
    make = command.replace("{}", null) if "{}" in command else f"{command} {null}"
    bundle.hook("createContainer", f"rm {null} && {make}")
    result = runtime.run(bundle, timeout=5)
    assert result.code != 0, result
    if runtime.kind == "pyoci":
        assert "it is not the null device 1:3" in result.err
    runtime.assert_clean()


@pytest.mark.parametrize("name", ["null", "zero", "random", "tty"])
def test_node_of_the_image_for_another_device(runtime: Runtime, name: str) -> None:
    """A node that stands in place of a default device is taken only if it is that device: here it is /dev/full."""
    bundle = without_dev(runtime.bundle().args("/bin/true"))
    os.mknod(bundle.rootfs / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    result = runtime.run(bundle)
    assert result.code != 0, result
    assert f"/dev/{name}" in result.err or runtime.kind != "pyoci", result
    runtime.assert_clean()


def test_terminal_of_another_devpts(runtime: Runtime) -> None:
    """The host's multiplexer, bound over the container's: the terminal would be one of the host's."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.process["terminal"] = True
    bundle.hook("createContainer", f"mount --bind /dev/pts/ptmx {bundle.rootfs}/dev/pts/ptmx")
    result = runtime.run(bundle, timeout=5)
    assert result.code != 0, result
    if runtime.kind == "pyoci":
        assert "/dev/pts/ptmx: openat2: invalid cross-device link" in result.err
    runtime.assert_clean()


@pytest.mark.parametrize("name", ["console", "pts", "pts/0", "ptmx"])
def test_console_in_a_hostile_dev(runtime: Runtime, outside: Path, name: str) -> None:
    """CVE-2025-52565: /dev/console is a pseudoterminal of the new devpts, or create refuses."""
    bundle = without_dev(runtime.bundle().sh("stat -c 'console %t' /dev/console; sleep 100"))
    bundle.mounts.append(mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"))
    path = bundle.rootfs / "dev" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside if name == "pts" else outside / "console")
    bundle.process["terminal"] = True
    before = snapshot(outside)
    bundle.save()
    container = runtime.container(bundle)
    with ConsoleSocket(runtime.tmp / "console.sock") as socket:
        result = runtime.call("create", "--bundle", bundle.path, "--console-socket", socket.path, container.id)
        if result.code == 0:
            with socket.receive() as terminal:
                runtime.ok("start", container.id)
                assert "console 88" in terminal.read_until("console ", 5) + terminal.read_until("88", 5)
    runtime.ok("delete", "--force", container.id)
    assert snapshot(outside) == before


def test_terminal_where_ptmx_is_a_pipe(runtime: Runtime) -> None:
    """Nothing of the image is opened before it is known what it is: here, an open would let the writer go on."""
    bundle = without_dev(runtime.bundle())
    bundle.process["terminal"] = True
    pipe = bundle.rootfs / "dev/pts/ptmx"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    bundle.save()
    writer = subprocess.Popen(["/bin/sh", "-c", f"exec 3> {pipe}"])
    try:
        container = runtime.container(bundle)
        with ConsoleSocket(runtime.tmp / "console.sock") as socket:
            runtime.fails("create", "--bundle", bundle.path, "--console-socket", socket.path, container.id)
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.3)
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize("stage", ["createContainer", "createRuntime"])
def test_target_that_a_hook_swaps(runtime: Runtime, outside: Path, stage: str) -> None:
    """A hook is a deterministic stand-in for a race: the root file system changes between mounts and pivot."""
    bundle = runtime.bundle().args("/bin/true")
    (bundle.rootfs / "volume").mkdir()
    bundle.hook(stage, f"rmdir {bundle.rootfs}/volume; ln -s {outside} {bundle.rootfs}/volume; true")
    bundle.linux["maskedPaths"] = ["/volume/file", "/volume/sub"]
    bundle.linux["readonlyPaths"] = ["/volume"]
    before = snapshot(outside)
    run_hostile(runtime, bundle)
    assert snapshot(outside) == before


def test_exchange_race_on_a_shared_volume(runtime: Runtime, outside: Path) -> None:
    """CVE-2021-30465: a second container swaps a mount target with a symlink while the first is made."""
    volume = runtime.tmp / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to(outside)
    before = snapshot(outside)
    swapper = runtime.bundle().sh(
        "cd /volume; while :; do mv -T dir x; mv -T link dir; mv -T dir link; mv -T x dir; done"
    )
    swapper.mounts.append(bind(volume, "/volume"))
    runtime.start(swapper)
    for _ in range(15):
        bundle = runtime.bundle().args("/bin/true")
        bundle.mounts.extend(
            [
                bind(volume, "/volume"),
                mount("/volume/dir", "tmpfs", "tmpfs"),
                mount("/volume/dir/made", "tmpfs", "tmpfs"),
            ]
        )
        run_hostile(runtime, bundle)
    assert snapshot(outside) == before


def test_root_that_is_a_link(runtime: Runtime) -> None:
    """The bundle's root may be a symlink, which engines use; it is resolved once."""
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.rootfs.rename(bundle.path / "real")
    bundle.rootfs.symlink_to("real")
    result = runtime.run(bundle)
    assert (result.code, result.out) == (0, "ok\n") or result.code == 1, result
