# SPDX-License-Identifier: Apache-2.0
"""Device rules as the kernel applies them: v1 files and v2 programs, probed by a process in the group."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.cgroup_room import enter, make

from pyoci import cgroup
from pyoci.cgroup import device_filter, devices
from pyoci.errors import SpecError

PATH = f"/pyoci-devices-{os.getpid()}"
HOST = cgroup.host()
DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
# Numbers without a driver (devices.txt: "local/experimental use"), so that opening them has no effect at all:
# it fails with ENXIO where the rules allow it, and with EPERM where they do not.
NUMBERS = [(kind, major, minor) for kind in "bc" for major in (240, 254) for minor in (1, 2)]
ACCESS = ["r", "w", "rw", "m"]

PROBE = r"""
import json, os, stat, sys
directory = sys.argv[1]
FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
def attempt(kind, major, minor, access):
    path = f"{directory}/{kind}-{major}-{minor}"
    try:
        if access == "m":
            mode = (stat.S_IFBLK if kind == "b" else stat.S_IFCHR) | 0o600
            os.mknod(path + "-new", mode, os.makedev(major, minor))
            os.unlink(path + "-new")
        else:
            os.close(os.open(path, FLAGS[access] | os.O_NONBLOCK))
    except OSError as error:
        return error.errno
    return 0
for line in sys.stdin:
    print(json.dumps([attempt(*one) for one in json.loads(line)]), flush=True)
"""

Probe = Callable[[list[tuple[str, int, int, str]]], list[bool]]


def wanted() -> list[tuple[str, int, int, str]]:
    return [(*number, access) for number, access in itertools.product(NUMBERS, ACCESS)]


def v2_mount() -> str:
    for mount in HOST.mounts:
        if mount.unified:
            return mount.mountpoint
    pytest.skip("cgroup2 is not mounted on this host")


def make_v1() -> cgroup.Cgroup:
    if "devices" not in HOST.controllers:
        pytest.skip("this host has no cgroup v1 devices hierarchy")
    return cgroup.manage(HOST, PATH, "cgroupfs")


def make_v2() -> cgroup.Cgroup:
    mount = cgroup.Mount(("unified",), v2_mount(), "/", True)
    return cgroup.manage(cgroup.Host(True, [mount]), PATH, "cgroupfs")


@pytest.fixture(params=[make_v1, make_v2], ids=["v1", "v2"])
def group(request: pytest.FixtureRequest) -> Iterator[cgroup.Cgroup]:
    one: cgroup.Cgroup = request.param()
    yield one
    one.kill(9)
    one.delete()


@pytest.fixture
def v2() -> Iterator[cgroup.Cgroup]:
    one = make_v2()
    yield one
    one.kill(9)
    one.delete()


@pytest.fixture
def prober(tmp_path: Path) -> Iterator[Callable[[cgroup.Cgroup], Probe]]:
    """Starts a process in a group that tries devices, and says which of the tries the rules allowed."""
    # Its own file system: a host's /tmp may be mounted with nodev, whose answer comes before that of the rules.
    subprocess.run(["mount", "-t", "tmpfs", "devices", tmp_path], check=True)
    for kind, major, minor in [*NUMBERS, ("c", 1, 3), ("c", 5, 2), ("c", 136, 7), ("c", 10, 200)]:
        mode = (stat.S_IFBLK if kind == "b" else stat.S_IFCHR) | 0o600
        os.mknod(tmp_path / f"{kind}-{major}-{minor}", mode, os.makedev(major, minor))
    started: list[subprocess.Popen[str]] = []

    def start(one: cgroup.Cgroup) -> Probe:
        command = [sys.executable, "-IS", "-c", PROBE, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        enter(one, process.pid)

        def probe(tries: list[tuple[str, int, int, str]]) -> list[bool]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(tries) + "\n")
            process.stdin.flush()
            return [number != errno.EPERM for number in json.loads(process.stdout.readline())]

        return probe

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)
    subprocess.run(["umount", tmp_path], check=True)


def expected(rules: list[devices.Rule], kind: str, major: int, minor: int, access: str) -> bool:
    """Each bit of the request is decided by the last rule that is about it."""
    for letter in access:
        bit = {"r": devices.READ, "w": devices.WRITE, "m": devices.MKNOD}[letter]
        verdict = False
        for rule in rules:
            fits = (
                rule.kind in ("a", kind) and rule.major in (devices.ANY, major) and rule.minor in (devices.ANY, minor)
            )
            if fits and rule.access & bit:
                verdict = rule.allow
        if not verdict:
            return False
    return True


def random_rules(source: random.Random) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [source.choice([DENY_ALL, ALLOW_ALL])] if source.random() < 0.8 else []
    for _ in range(source.randrange(6)):
        rule: dict[str, Any] = {"allow": source.random() < 0.5}
        rule["access"] = "".join(sorted(source.sample("rwm", source.randrange(1, 4))))
        if source.random() < 0.9:
            rule["type"] = source.choice("bc")
            for name, values in (("major", (240, 254)), ("minor", (1, 2))):
                if source.random() < 0.7:
                    rule[name] = source.choice(values)
        made.append(rule)
    return made


def test_the_containers_default(group: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    """`runc spec` and the engines write "deny all": the usual devices work, others can be made but not opened."""
    make(group, {"devices": [DENY_ALL]})
    probe = prober(group)
    usual = [("c", 1, 3, "rw"), ("c", 5, 2, "rw"), ("c", 136, 7, "rw"), ("c", 10, 200, "rw")]
    assert probe(usual) == [True] * 4
    assert probe(wanted()) == [access == "m" for _, _, _, access in wanted()]


def test_no_rules_no_filter(group: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    make(group, {"devices": []})
    assert all(prober(group)(wanted()))


def test_privileged(group: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    make(group, {"devices": [DENY_ALL, ALLOW_ALL]})
    probe = prober(group)
    assert all(probe(wanted()))
    group.update({"devices": [DENY_ALL]})
    assert not all(probe(wanted()))
    group.update({"devices": [ALLOW_ALL]})
    assert all(probe(wanted()))


def test_a_number_of_32_bits(group: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    rule = {"allow": True, "type": "c", "major": 240, "minor": 2**32 - 1, "access": "rw"}
    with pytest.raises(SpecError, match="not a device number .it is 4294967295"):
        make(group, {"devices": [DENY_ALL, rule]})  # to v1 it would stand for all
    make(group, {"devices": [DENY_ALL, {**rule, "minor": 2**32 - 2}]})
    assert not any(prober(group)([("c", 240, 1, "r"), ("c", 240, 2, "w")]))


def test_random_lists(group: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    """Each list replaces the one before, in a running group."""
    source = random.Random(20)
    make(group, {"devices": [DENY_ALL]})
    probe = prober(group)
    checked = 0
    for _ in range(150):
        listed = random_rules(source)
        if not listed:
            continue
        rules = devices.rules(listed)
        try:
            group.update({"devices": listed})
        except SpecError as error:
            assert "cgroup v1 cannot" in str(error)
            continue
        verdicts = [expected(rules, *one) for one in wanted()]
        if "devices" in group.paths:
            # v1 wants one exception that covers all of "rw"; two that do it together do not count.
            exceptions = devices.exceptions(rules)
            verdicts = [one if access != "rw" else None for one, (*_, access) in zip(verdicts, wanted(), strict=True)]
            assert exceptions.allow == ("a *:* rwm" in Path(group.paths["devices"], "devices.list").read_text())
        found = probe(wanted())
        for verdict, got, one in zip(verdicts, found, wanted(), strict=True):
            assert verdict in (None, got), (listed, one)
        checked += 1
    assert checked > 40


def test_programs_without_defaults(v2: cgroup.Cgroup, prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    """The program alone, where making nodes is not allowed by default."""
    source = random.Random(5)
    make(v2, {})
    probe = prober(v2)
    for _ in range(80):
        rules = devices.rules(random_rules(source))[: -len(devices.DEFAULTS)]
        device_filter.attach(v2.paths["unified"], device_filter.program(rules))
        assert probe(wanted()) == [expected(rules, *one) for one in wanted()], [
            (rule.allow, rule.kind, rule.major, rule.minor, rule.access) for rule in rules
        ]


def test_one_program_at_a_time(v2: cgroup.Cgroup) -> None:
    make(v2, {"devices": [DENY_ALL]})
    directory = v2.paths["unified"]
    group = os.open(directory, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    try:
        for _ in range(3):
            v2.update({"devices": [DENY_ALL]})
            assert count_attached(directory, group) == 1
        v2.update({"devices": [ALLOW_ALL]})
        assert count_attached(directory, group) == 0
    finally:
        os.close(group)
    assert len(os.listdir("/proc/self/fd")) == before - 1


def count_attached(directory: str, group: int) -> int:
    handles = device_filter._attached(directory, group)
    for handle in handles:
        os.close(handle)
    return len(handles)


def test_a_v1_list_stays_exact(prober: Callable[[cgroup.Cgroup], Probe]) -> None:
    one = make_v1()
    make(one, {"devices": [DENY_ALL, {"allow": True, "type": "b", "major": 240, "access": "r"}]})
    try:
        for rule in (
            {"type": "c", "major": 254, "minor": 1, "access": "rw"},
            {"type": "b", "major": 240, "access": "w"},
        ):
            listed = [DENY_ALL, {"allow": True, **rule}]
            one.update({"devices": listed})
            lines = Path(one.paths["devices"], "devices.list").read_text().splitlines()
            assert sorted(lines) == sorted(devices.exceptions(devices.rules(listed)).text())
    finally:
        one.delete()
