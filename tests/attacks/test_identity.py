# SPDX-License-Identifier: Apache-2.0
"""Who a process is: hostile passwd files, malformed ids, capabilities that should not be there."""

from __future__ import annotations

import os

import pytest
from harness import inspection
from harness.runtime import Runtime

BAD_USERS = [
    "-1",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    " 1",
    "1:x",
    "1 ",
    "+1",
    "0x1",
    "1:-1",
    "1:4294967295",
]


def test_user_name_that_looks_like_a_number(runtime: Runtime) -> None:
    """CVE-2016-3697: a passwd entry named 1000 for root; `-u 1000` is the number."""
    bundle = runtime.bundle()
    (bundle.rootfs / "etc/passwd").write_text("1000:x:0:0:root:/root:/bin/sh\n")
    (bundle.rootfs / "etc/group").write_text("1000:x:0:1000\n")
    container = runtime.start(bundle)
    result = container.exec("/bin/cat", "/proc/self/status", flags=["-u", "1000"])
    status = inspection.parse_status(result.out)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split()[0] in ("0", "1000")


@pytest.mark.parametrize("uid", ["1", "10", "65534", "4294967294"])
def test_numeric_user_is_literal(runtime: Runtime, uid: str) -> None:
    """CVE-2026-30892: every digit counts."""
    container = runtime.start(runtime.bundle())
    result = container.exec("/bin/cat", "/proc/self/status", flags=["-u", uid])
    assert inspection.parse_status(result.out)["Uid"].split() == [uid] * 4


@pytest.mark.parametrize("user", [*BAD_USERS, ""])
def test_user_malformed(runtime: Runtime, user: str) -> None:
    """containerd CVE-2024-40635: an id that overflows must not become another one, least of all root."""
    container = runtime.start(runtime.bundle())
    runtime.fails("exec", f"--user={user}", container.id, "/bin/id")


def test_other_user_has_no_capabilities(runtime: Runtime) -> None:
    """CVE-2016-8867: uid 1234 with root's sets in the config ends with none but the bounding set."""
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/status")
    bundle.process["user"] = {"uid": 1234, "gid": 1234}
    status = inspection.parse_status(runtime.output(bundle))
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb", "CapInh")} == {0}


@pytest.mark.parametrize("flags", [[], ["--cap", "CAP_NET_RAW"], ["-u", "1000", "--cap", "CAP_NET_RAW"]])
def test_inheritable_set_is_empty(runtime: Runtime, flags: list[str]) -> None:
    """CVE-2022-24769 and its kin: a file with inheritable capabilities must not gain any for an added one."""
    container = runtime.start(runtime.bundle())
    status = inspection.parse_status(container.exec("/bin/cat", "/proc/self/status", flags=flags).out)
    if "-u" in flags and int(status["CapAmb"], 16):
        pytest.skip("an ambient capability is inheritable too: asked for by --cap for a user who is not root")
    assert int(status["CapInh"], 16) == 0


@pytest.mark.parametrize("file", ["passwd", "group"])
@pytest.mark.parametrize("kind", ["fifo", "zero", "directory", "symlink loop", "large"])
def test_hostile_user_database(runtime: Runtime, file: str, kind: str) -> None:
    """containerd CVE-2026-47262: reading it neither hangs nor fills the memory."""
    bundle = runtime.bundle()
    path = bundle.rootfs / "etc" / file
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink loop":
        path.symlink_to(file)
    else:
        path.write_text("a" * (8 << 20))
    bundle.save()
    container = runtime.container(bundle)
    result = runtime.call("create", "--bundle", bundle.path, container.id, timeout=3)
    if result.code == 0:
        runtime.ok("start", container.id)
        # not id: busybox reads passwd itself
        again = container.exec("/bin/grep", "-c", "Uid:.1000", "/proc/self/status", flags=["-u", "1000"], timeout=3)
        assert (again.code, again.out) == (0, "1\n") or "passwd" in again.err or "group" in again.err
    else:
        assert "passwd" in result.err or "group" in result.err, result


def test_passwd_is_read_inside(runtime: Runtime) -> None:
    """A symlink leads to a file of the image, not of the host."""
    bundle = runtime.bundle().sh("echo $HOME")
    outside = runtime.tmp / "passwd"
    outside.write_text("root:x:0:0:root:/outside:/bin/sh\n")
    (bundle.rootfs / "etc/passwd").unlink()
    (bundle.rootfs / "etc/passwd").symlink_to(outside)
    assert runtime.run(bundle).out.strip() != "/outside"
