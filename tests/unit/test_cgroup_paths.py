# SPDX-License-Identifier: Apache-2.0
"""Where a container's cgroup is: cgroupsPath, mountinfo, the saved state."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import cgroup
from pyoci.cgroup import hierarchies
from pyoci.errors import CgroupError, PyociError, SpecError, UnsupportedError

HYBRID = r"""
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/4f /sys/fs/cgroup/part ro,relatime - cgroup cgroup rw,memory
34 31 0:30 / /sys/fs/cgroup/me\040mory rw,relatime - cgroup cgroup rw,memory
35 31 0:30 / /sys/fs/cgroup/again rw,relatime - cgroup cgroup rw,memory
36 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:1 master:2 - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
37 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (None, "/box"),
        ("", "/box"),
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        ("//a/./b//", "/a/b"),
        ("/a/..b", "/a/..b"),
        ("system.slice:pyoci:box", "/system.slice:pyoci:box"),
    ],
)
def test_resolve(given: str | None, path: str) -> None:
    assert cgroup.resolve(given, "box") == path


@pytest.mark.parametrize(
    "given", ["..", "/..", "/a/../b", "a/..", "/a/../../../etc", "/", ".", "//./", "/a\nb", "/a\0b"]
)
def test_resolve_refuses(given: str) -> None:
    with pytest.raises(SpecError, match="^config.json: /linux/cgroupsPath: "):
        cgroup.resolve(given, "box")


def test_resolve_refuses_an_id_that_climbs() -> None:
    with pytest.raises(SpecError):
        cgroup.resolve(None, "../box")


def test_mounts_of_a_hybrid_host() -> None:
    found = cgroup.Host(False, hierarchies.parse_mounts(HYBRID.splitlines()))
    assert sorted(found.controllers) == ["cpu", "cpuacct", "memory", "name=systemd"]
    assert found.controllers["cpu"] is found.controllers["cpuacct"]
    assert found.controllers["memory"].mountpoint == "/sys/fs/cgroup/me mory", "the first that is whole"
    assert [mount.mountpoint for mount in found.mounts if mount.unified] == ["/sys/fs/cgroup/unified"]
    one = cgroup.manage(found, "/box", "cgroupfs")
    assert one.state({"pids": {"limit": 3}}) == {
        "manager": "cgroupfs",
        "path": "/box",
        "paths": {
            "cpu": "/sys/fs/cgroup/cpu,cpuacct/box",
            "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/box",
            "memory": "/sys/fs/cgroup/me mory/box",
            "name=systemd": "/sys/fs/cgroup/systemd/box",
            "unified": "/sys/fs/cgroup/unified/box",
        },
        "resources": {"pids": {"limit": 3}},
    }
    assert cgroup.from_state(one.state({})).state({}) == one.state({})
    assert type(cgroup.from_state(one.state({}))) is type(one)


def test_a_cgroup_mount_of_a_container_is_not_the_hosts() -> None:
    """The root file systems of containers are mounted on the host too; without /sys, theirs are the only ones."""
    lines = HYBRID.replace("/sys/fs/cgroup", "/run/bundle/rootfs/sys/fs/cgroup").splitlines()
    found = cgroup.Host(False, hierarchies.parse_mounts(lines))
    assert found.mounts == []
    with pytest.raises(CgroupError, match="no cgroup hierarchy mounted at /sys/fs/cgroup; mount one, or use"):
        cgroup.manage(found, "/box", "cgroupfs")


def test_a_unified_host() -> None:
    found = cgroup.Host(True, [cgroup.Mount(("unified",), "/sys/fs/cgroup", "/", True)])
    assert found.controllers == {}
    one = cgroup.manage(found, "/a/box", "cgroupfs")
    assert one.state({})["paths"] == {"unified": "/sys/fs/cgroup/a/box"}
    assert type(cgroup.from_state(one.state({}))) is type(one)


def test_managers() -> None:
    bare = cgroup.Host(False, [])
    with pytest.raises(UnsupportedError, match="^--cgroup-manager: systemd: .*use cgroupfs or disabled"):
        cgroup.manage(bare, "/box", "systemd")
    with pytest.raises(CgroupError, match="unknown"):
        cgroup.manage(bare, "/box", "other")
    with pytest.raises(CgroupError, match="no cgroup hierarchy mounted"):
        cgroup.manage(bare, "/box", "cgroupfs")


def test_disabled() -> None:
    none = cgroup.manage(cgroup.Host(False, []), "/box", "disabled")
    none.precreate(none.plan({"memory": {"limit": 1}}))
    none.attach(1)
    assert (none.pids(), none.kill(9), none.frozen(), none.descriptor()) == ([], 0, False, -1)
    none.delete()
    assert cgroup.from_state(none.state({})).state({}) == none.state({})
    for verb in (none.freeze, none.thaw, lambda: none.update({})):
        with pytest.raises(CgroupError, match="disabled"):
            verb()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"manager": "systemd", "path": "/x", "paths": {"cpu": "/sys/x"}},
        {"manager": "cgroupfs", "path": "/x", "paths": {}},
        {"manager": "cgroupfs", "path": "/x", "paths": ["/sys/x"]},
        {"manager": "cgroupfs", "path": 3, "paths": {"cpu": "/sys/x"}},
        {"manager": "cgroupfs", "path": "/x", "paths": {"cpu": 3}},
        {"manager": "cgroupfs", "path": "/x", "paths": {"cpu": "/etc"}},
        {"manager": "cgroupfs", "path": "/x", "paths": {"cpu": "sys/x"}},
        {"manager": "cgroupfs", "path": "/", "paths": {"cpu": "/sys/"}},
        {"manager": "cgroupfs", "path": "/../x", "paths": {"unified": "/sys/../x"}},
    ],
)
def test_a_damaged_state_leads_nowhere(data: dict[str, Any]) -> None:
    with pytest.raises(PyociError, match="malformed"):
        cgroup.from_state(data)
