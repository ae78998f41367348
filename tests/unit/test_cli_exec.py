# SPDX-License-Identifier: Apache-2.0
"""How the flags of exec and create become a process document and shared."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyoci.cli import exec as verb
from pyoci.cli import exec_process, shared
from pyoci.cli.flags import parse
from pyoci.errors import UsageError


def base() -> dict[str, Any]:
    return {
        "terminal": False,
        "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
        "args": ["sh"],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    }


def changed(*args: str, **properties: Any) -> dict[str, Any]:
    process = base() | properties
    exec_process.change(process, parse(verb.TABLE, [*args, "box"], "exec", verb.STOP_AFTER))
    return process


def test_without_flags_nothing_changes() -> None:
    assert changed() == base()


def test_simple_properties() -> None:
    process = changed("--cwd", "/tmp", "-t", "--no-new-privs", "--apparmor", "prof", "--process-label", "label")
    expected = {"cwd": "/tmp", "terminal": True, "noNewPrivileges": True}
    expected |= {"apparmorProfile": "prof", "selinuxLabel": "label"}
    assert {key: process[key] for key in expected} == expected


def test_booleans_that_are_given_as_false() -> None:
    process = changed("--tty=no", "--no-new-privs=false", terminal=True, noNewPrivileges=True)
    assert (process["terminal"], process["noNewPrivileges"]) == (False, False)


def test_environment_is_added_to_and_the_last_one_counts() -> None:
    process = changed("-e", "A=1", "--env", "PATH=/x", "-e", "A=2=3", "-e", "EMPTY=")
    assert process["env"] == ["TERM=xterm", "A=2=3", "PATH=/x", "EMPTY="]


@pytest.mark.parametrize("value", ["", "=x", "NAME"])
def test_a_variable_that_is_none(value: str) -> None:
    with pytest.raises(UsageError, match="--env: .* is not NAME=VALUE"):
        changed("-e", value)


@pytest.mark.parametrize("value", ["tmp", "./tmp"])
def test_a_working_directory_is_absolute(value: str) -> None:
    with pytest.raises(UsageError, match=f"^exec: flag --cwd: '{value}' is not an absolute path$"):
        changed("--cwd", value)


def test_user() -> None:
    assert changed("-u", "1000")["user"] == {"uid": 1000, "gid": 6, "additionalGids": [7]}
    user = changed("-u", "1000:1001", "-g", "8", "-g9")["user"]
    assert user == {"uid": 1000, "gid": 1001, "additionalGids": [7, 8, 9]}
    assert changed("-u0:0")["user"]["uid"] == 0
    assert changed("-u", "4294967294")["user"]["uid"] == 4294967294
    assert changed("-g", "8")["user"] == {"uid": 5, "gid": 6, "additionalGids": [7, 8]}


@pytest.mark.parametrize(
    "value",
    ["", " 1", "1 ", "1:", ":1", "1:x", "1:2:3", "-1", "+1", "root", "1.0", "0x1", "4294967295", "4294967296"]
    + ["18446744073709551616", "1:4294967295", "٣", "1_000"],
)
def test_a_user_that_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="^exec: flag --user: .* is not an ID"):
        changed(f"--user={value}")


def test_a_group_that_is_refused() -> None:
    with pytest.raises(UsageError, match="--additional-gids: 'staff' is not an ID"):
        changed("-g", "staff")


def test_capabilities_are_never_made_inheritable() -> None:
    sets = changed("--cap", "CAP_NET_RAW", "-c", "kill", "-c", "net_admin")["capabilities"]
    expected = ["CAP_KILL", "CAP_NET_RAW", "CAP_NET_ADMIN"]
    assert sets == {"bounding": expected, "effective": expected, "permitted": expected, "ambient": []}


def test_capabilities_become_ambient_only_where_they_are_inheritable() -> None:
    given = {"bounding": [], "inheritable": ["CAP_NET_RAW"]}
    sets = changed("--cap", "CAP_NET_RAW", "--cap", "CAP_KILL", capabilities=given)["capabilities"]
    assert sets["inheritable"] == ["CAP_NET_RAW"]
    assert sets["ambient"] == ["CAP_NET_RAW"]
    assert sets["permitted"] == ["CAP_NET_RAW", "CAP_KILL"]
    assert given == {"bounding": [], "inheritable": ["CAP_NET_RAW"]}


def test_sub_cgroups() -> None:
    assert verb._cgroups([]) == {}
    assert verb._cgroups(["a/b"]) == {"": "a/b"}
    assert verb._cgroups(["cpu,cpuacct:x", "memory:y"]) == {"cpu": "x", "cpuacct": "x", "memory": "y"}
    for wrong in (["a", "b"], ["cpu:x", "b"], [":x"], ["cpu,:x"], ["cpu:x", "cpu:y"]):
        with pytest.raises(UsageError, match="^exec: flag --cgroup: "):
            verb._cgroups(wrong)


def test_preserved_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shared, "_without_trailing_holes", int)
    parsed = parse(shared.CREATE, ["--preserve-fds", "2", "box"], "create")
    assert shared.preserved(parsed) == (2, [])
    monkeypatch.setenv("LISTEN_FDS", "3")
    assert shared.preserved(parsed) == (2, [])
    monkeypatch.setenv("LISTEN_PID", "1")
    assert shared.preserved(parsed) == (2, [])
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert shared.preserved(parsed) == (5, ["LISTEN_FDS=3", "LISTEN_PID=1"])
    monkeypatch.setenv("LISTEN_FDNAMES", "a:b:c")
    assert shared.preserved(parsed) == (5, ["LISTEN_FDS=3", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b:c"])
    monkeypatch.setenv("LISTEN_FDS", "-3")
    assert shared.preserved(parsed) == (2, [])
    monkeypatch.setenv("LISTEN_FDS", "70000")
    with pytest.raises(UsageError, match="--preserve-fds: 70002 descriptors"):
        shared.preserved(parsed)


def test_descriptors_that_are_there() -> None:
    """Holes at the end are not counted, nor what is close-on-exec."""
    for number, inheritable in ((300, True), (310, False)):
        os.dup2(2, number, inheritable=inheritable)
    try:
        for count, expected in ((0, 0), (298, 298), (299, 298), (308, 298), (65536, 298)):
            assert shared._without_trailing_holes(count) == expected
        assert shared._without_trailing_holes(297) < 297
    finally:
        os.close(300)
        os.close(310)


def test_paths_are_made_absolute_at_once() -> None:
    assert shared.absolute("") == ""
    assert shared.absolute("pid") == f"{os.getcwd()}/pid"
    assert shared.bundle(parse(shared.CREATE, ["-b", "b/../c"], "create")) == f"{os.getcwd()}/c"
    assert shared.bundle(parse(shared.CREATE, [], "create")) == os.getcwd()
