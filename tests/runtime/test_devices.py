# SPDX-License-Identifier: Apache-2.0
"""/dev: the nodes and links that the specification promises, and what the config adds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from harness.bundle import bind, mount
from harness.runtime import Runtime

pytestmark = pytest.mark.usefixtures("cgroups")  # with those of the host, and with v2 alone

DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def test_default_nodes(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("cd /dev; stat -c '%n %t:%T %a %u:%g %F' null zero full random urandom tty")
    lines = [line.split(" ", 4) for line in runtime.output(bundle).splitlines()]
    assert {name: (numbers, mode, owner) for name, numbers, mode, owner, _ in lines} == {
        name: (numbers, "666", "0:0") for name, numbers in DEFAULT.items()
    }
    assert {kind for *_, kind in lines} == {"character special file"}


def test_default_nodes_work(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh(
        "echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 4 /dev/urandom | wc -c"
    )
    assert runtime.output(bundle).split() == ["00"] * 4 + ["4"]


def test_links(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("cd /dev; for n in fd stdin stdout stderr ptmx; do echo $n $(readlink $n); done")
    links = dict(line.split(" ", 1) for line in runtime.output(bundle).splitlines())
    assert links.pop("ptmx").strip("/") in ("pts/ptmx", "dev/pts/ptmx")
    assert links == {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }


def test_nothing_else_in_dev(runtime: Runtime) -> None:
    names = set(runtime.output(runtime.bundle().args("/bin/ls", "/dev")).split())
    links = {"fd", "stdin", "stdout", "stderr", "ptmx", "core"}
    assert names - links == {*DEFAULT, "pts", "shm", "mqueue"}


def test_pseudoterminals_are_new(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("ls /dev/pts; stat -c %a /dev/pts/ptmx; exec 3<>/dev/ptmx; ls /dev/pts")
    assert runtime.output(bundle).split() == ["ptmx", "666", "0", "ptmx"]


@pytest.mark.parametrize(
    ("kind", "letter"), [("c", "character special file"), ("b", "block special file"), ("p", "fifo")]
)
def test_extra_device(runtime: Runtime, kind: str, letter: str) -> None:
    bundle = runtime.bundle().sh("stat -c '%F|%t:%T|%a|%u:%g' /dev/extra")
    numbers = {} if kind == "p" else {"major": 10, "minor": 229}
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": kind, **numbers, "fileMode": 0o640, "uid": 7, "gid": 8}]
    found = runtime.output(bundle).strip().split("|")
    assert found == [letter, "0:0" if kind == "p" else "a:e5", "640", "7:8"]


def test_extra_device_in_a_new_directory(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("stat -c '%t:%T' /dev/deep/er/fuse")
    bundle.linux["devices"] = [{"path": "/dev/deep/er/fuse", "type": "c", "major": 10, "minor": 229}]
    assert runtime.output(bundle) == "a:e5\n"


def test_mode_is_not_cut_by_the_umask(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("stat -c %a /dev/extra")
    bundle.process["user"]["umask"] = 0o077
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    assert runtime.output(bundle) == "666\n"


def test_device_of_an_unknown_type(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": "x", "major": 1, "minor": 3}]
    runtime.refuses(bundle)


def test_devices_in_a_user_namespace_are_binds(runtime: Runtime) -> None:
    """mknod(2) is refused there, so that the host's node is bound."""
    bundle = runtime.bundle().map_users().sh("stat -c '%n %t:%T' /dev/null /dev/zero; echo x > /dev/null")
    assert runtime.output(bundle).split() == ["/dev/null", "1:3", "/dev/zero", "1:5"]


def test_devices_in_a_user_namespace_are_the_ones_asked_for(runtime: Runtime) -> None:
    """The number decides, not the name: where the host has another device of that name, or none, it is looked up by
    its number; a FIFO is made, for the kernel allows it."""
    bundle = runtime.bundle().map_users().sh("stat -c '%n %F %t:%T' /dev/fuse /dev/elsewhere /dev/pipe")
    bundle.linux["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/elsewhere", "type": "c", "major": 1, "minor": 7},
        {"path": "/dev/pipe", "type": "p"},
    ]
    numbers = [Path(f"/dev/char/1:{minor}") for minor in (5, 7)]
    made = [path for path in numbers if not path.exists()]  # as udev makes them
    Path("/dev/char").mkdir(exist_ok=True)
    try:
        for path in made:
            path.symlink_to("../zero" if path.name == "1:5" else "../full")
        found = runtime.output(bundle).splitlines()
    finally:
        for path in made:
            path.unlink()
    character = "character special file"
    assert found == [f"/dev/fuse {character} 1:5", f"/dev/elsewhere {character} 1:7", "/dev/pipe fifo 0:0"]


def test_device_in_a_user_namespace_that_the_host_has_not(runtime: Runtime) -> None:
    """Never another one instead, of the same name."""
    bundle = runtime.bundle().map_users()
    bundle.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 250, "minor": 251}]
    assert "/dev/full" in runtime.refuses(bundle)
    bundle.linux["devices"] = [{"path": "/dev/full", "type": "b", "major": 1, "minor": 7}]  # the number of another type
    assert "/dev/full" in runtime.refuses(bundle)


def test_devices_in_a_user_namespace_are_nosuid_noexec(runtime: Runtime) -> None:
    bundle = runtime.bundle().map_users().sh("grep ' /dev/null ' /proc/self/mounts")
    options = runtime.output(bundle).split()[3].split(",")
    assert {"nosuid", "noexec"} <= set(options)
    assert "nodev" not in options


def test_dev_that_is_bound(runtime: Runtime) -> None:
    """Where the config binds a /dev, its owner has filled it: the runtime changes nothing in it."""
    volume = runtime.tmp / "dev"
    volume.mkdir()
    for name, numbers in DEFAULT.items():
        major, minor = map(int, numbers.split(":"))
        os.mknod(volume / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    (volume / "pts").mkdir()
    before = {entry.name: entry.lstat().st_mtime_ns for entry in volume.iterdir()}
    bundle = runtime.bundle().args("/bin/echo", "ok")
    keep = [entry for entry in bundle.mounts if not entry["destination"].startswith("/dev")]
    bundle.config["mounts"] = [*keep, bind(volume, "/dev", "rbind")]
    assert runtime.output(bundle) == "ok\n"
    assert {entry.name: entry.lstat().st_mtime_ns for entry in volume.iterdir()} == before


@pytest.mark.parametrize(
    ("destination", "kind", "options"),
    [
        ("/dev", "rbind", ()),
        ("//dev", "none", ("bind",)),
        ("/dev/.", "bind", ("rbind",)),
        ("dev/", "bind", ("bind", "rprivate")),
        ("/x/../dev", "none", ("rbind",)),
    ],
)
def test_nothing_is_made_in_a_dev_that_is_bound(
    runtime: Runtime, destination: str, kind: str, options: tuple[str, ...]
) -> None:
    """However the bind is written: the nodes and links would be made in a directory of the host."""
    volume = runtime.tmp / "dev"
    volume.mkdir()
    bundle = runtime.bundle().args("/bin/ls", "/dev")
    keep = [entry for entry in bundle.mounts if not entry["destination"].startswith("/dev")]
    bundle.config["mounts"] = [*keep, mount(destination, kind, str(volume), *options)]
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": "p"}]
    runtime.run(bundle)
    assert os.listdir(volume) == []


def test_nodes_are_made_where_a_tmpfs_covers_a_bind(runtime: Runtime) -> None:
    """The last mount on /dev is what the container sees."""
    volume = runtime.tmp / "dev"
    volume.mkdir()
    bundle = runtime.bundle().sh("stat -c %t:%T /dev/null")
    index = [entry["destination"] for entry in bundle.mounts].index("/dev")
    bundle.mounts.insert(index, bind(volume, "/dev"))
    assert runtime.output(bundle) == "1:3\n"
    assert os.listdir(volume) == []


def test_device_rule_denies(runtime: Runtime) -> None:
    """The default rules of the engines deny every device that is not on the list, even to one that makes a node."""
    bundle = runtime.bundle().capabilities("CAP_MKNOD").sh("mknod /work/mem c 1 1 && head -c 1 /work/mem")
    result = runtime.run(bundle)
    assert result.code != 0
    assert "Operation not permitted" in result.err


def test_device_rule_allows(runtime: Runtime) -> None:
    bundle = runtime.bundle().capabilities("CAP_MKNOD").sh("mknod /work/full c 1 7 && echo x > /work/full")
    bundle.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rw"},
        ]
    }
    result = runtime.run(bundle)
    assert "No space left" in result.err, result
