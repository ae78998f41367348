# SPDX-License-Identifier: Apache-2.0
"""The mount option tmpcopyup: a new tmpfs begins with what the directory holds that it covers."""

from __future__ import annotations

import os

from harness.bundle import Bundle, mount
from harness.runtime import Runtime

LIST = "cd /data && find . | sort && cat file deep/er/leaf && readlink link && stat -c '%a %u:%g' file deep"


def filled(runtime: Runtime, script: str, *options: str) -> Bundle:
    bundle = runtime.bundle().args("/bin/sh", "-c", script)
    data = bundle.rootfs / "data"
    (data / "deep/er").mkdir(parents=True)
    (data / "deep/er/leaf").write_text("leaf\n")
    (data / "file").write_text("file\n")
    (data / "link").symlink_to("/etc/passwd")
    os.chown(data / "file", 12, 34)
    (data / "file").chmod(0o4755)
    (data / "deep").chmod(0o1711)
    bundle.mounts.append(mount("/data", "tmpfs", "tmpfs", "tmpcopyup", *options))
    return bundle


def test_content_owners_and_modes_are_copied(runtime: Runtime) -> None:
    lines = runtime.output(filled(runtime, LIST)).splitlines()
    names = [line for line in lines if line.startswith(".")]
    assert names == [".", "./deep", "./deep/er", "./deep/er/leaf", "./file", "./link"]
    assert lines[-5:] == ["file", "leaf", "/etc/passwd", "4755 12:34", "1711 0:0"]


def test_changes_stay_in_the_tmpfs(runtime: Runtime) -> None:
    bundle = filled(runtime, "rm -r /data/deep /data/file && echo more >/data/new && cat /data/new")
    assert runtime.output(bundle) == "more\n"
    assert (bundle.rootfs / "data/file").read_text() == "file\n"
    assert (bundle.rootfs / "data/deep/er/leaf").exists()


def test_read_only_after_the_copying(runtime: Runtime) -> None:
    bundle = filled(runtime, "cat /data/file; echo x >/data/new || echo refused", "ro")
    assert runtime.output(bundle) == "file\nrefused\n"


def test_links_of_the_image_do_not_lead_out(runtime: Runtime) -> None:
    """The covered directory is reached inside the root, whatever links lead to it."""
    outside = runtime.tmp / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    bundle = runtime.bundle().args("/bin/sh", "-c", "cat /lnk/secret /data/secret 2>/dev/null; echo end")
    (bundle.rootfs / "lnk").symlink_to(outside)
    bundle.mounts.append(mount("/lnk", "tmpfs", "tmpfs", "tmpcopyup"))
    assert runtime.output(bundle) == "end\n"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


def test_holes_stay_holes(runtime: Runtime) -> None:
    """A sparse file costs what it holds, in time and in memory: here it is larger than the tmpfs."""
    bundle = filled(runtime, "cd /data; stat -c '%s %b' sparse; head -c 5 sparse; tail -c 4 sparse; du -k .", "size=8m")
    with open(bundle.rootfs / "data/sparse", "wb") as file:
        file.write(b"begin")
        file.seek(2 << 30)
        file.write(b"x" * 4096 + b"end\n")
    first, *rest = runtime.output(bundle).splitlines()
    size, blocks = map(int, first.split())
    assert size == (2 << 30) + 4100
    assert blocks * 512 <= 1 << 20
    assert rest[0] == "beginend"
