# SPDX-License-Identifier: Apache-2.0
"""The five capability sets are what the config says, for root and for another user."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from harness import inspection
from harness.runtime import TIMEOUT, Runtime

CHOWN, KILL, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_PTRACE = 0, 5, 8, 10, 13, 19
SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "ambient": "CapAmb",
}


def mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


def sets_of(runtime: Runtime, capabilities: dict[str, list[str]] | None, uid: int = 0, **more: Any) -> dict[str, int]:
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/status")
    bundle.process.update(more)
    bundle.process["user"] = {"uid": uid, "gid": uid}
    if capabilities is None:
        del bundle.process["capabilities"]
    else:
        bundle.process["capabilities"] = capabilities
    status = inspection.parse_status(runtime.output(bundle))
    return {name: int(status[field], 16) for name, field in SETS.items()}


@pytest.mark.parametrize("nnp", [True, False])
def test_root(runtime: Runtime, nnp: bool) -> None:
    names = ["CAP_CHOWN", "CAP_KILL"]
    found = sets_of(runtime, {"bounding": names, "effective": names, "permitted": names}, noNewPrivileges=nnp)
    expected = mask(CHOWN, KILL)
    assert found == {"bounding": expected, "effective": expected, "permitted": expected, "inheritable": 0, "ambient": 0}


def test_bounding_larger_than_permitted(runtime: Runtime) -> None:
    """execve gives root the bounding set, unless no_new_privs holds it down (capabilities(7))."""
    found = sets_of(
        runtime,
        {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        uid=1000,
    )
    assert found["bounding"] == mask(CHOWN, KILL)
    assert found["permitted"] == found["effective"] == 0


def test_other_user_has_none(runtime: Runtime) -> None:
    names = ["CAP_CHOWN", "CAP_KILL"]
    found = sets_of(runtime, {"bounding": names, "effective": names, "permitted": names}, uid=1000)
    assert found == {"bounding": mask(CHOWN, KILL), "effective": 0, "permitted": 0, "inheritable": 0, "ambient": 0}


def test_other_user_with_ambient(runtime: Runtime) -> None:
    names = ["CAP_NET_RAW"]
    found = sets_of(runtime, dict.fromkeys(SETS, names), uid=1000)
    assert found == dict.fromkeys(SETS, mask(NET_RAW))


@pytest.mark.parametrize("nnp", [True, False])
def test_root_with_all_five(runtime: Runtime, nnp: bool) -> None:
    """execve(2) leaves the ambient set of root as it is, unless the program has capabilities of its own."""
    names = ["CAP_NET_BIND_SERVICE", "CAP_KILL"]
    found = sets_of(runtime, dict.fromkeys(SETS, names), noNewPrivileges=nnp)
    assert found == dict.fromkeys(SETS, mask(NET_BIND_SERVICE, KILL))


def test_ambient_is_a_part_of_inheritable(runtime: Runtime) -> None:
    """Each set is its own: two of the five capabilities more, and one less, from set to set."""
    names = ["CAP_CHOWN", "CAP_KILL", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]
    wanted = {"bounding": names, "permitted": names[:4], "effective": names[:3], "inheritable": names[:2]}
    found = sets_of(runtime, wanted | {"ambient": names[:1]}, uid=1000)
    # What is permitted to a user after execve(2) is what is ambient (capabilities(7)).
    assert found["bounding"] == mask(CHOWN, KILL, SETPCAP, NET_BIND_SERVICE, NET_RAW)
    assert found["inheritable"] == mask(CHOWN, KILL)
    assert found["permitted"] == found["effective"] == found["ambient"] == mask(CHOWN)


def test_what_cannot_be_granted_is_a_warning(runtime: Runtime) -> None:
    """ "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise, MUST be logged
    as a warning" (config.md, "capabilities"), and the container runs."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NONESUCH"],
        "permitted": ["CAP_KILL", "CAP_NONESUCH", "SYS_ADMIN"],
        "ambient": ["CAP_KILL", "CAP_CHOWN"],
    }
    log = runtime.tmp / "log"
    result = runtime.ok("--log", log, "run", "--bundle", bundle.path, bundle.save().name)
    warnings = [line for line in log.read_text().splitlines() if "level=warning" in line]
    told = " ".join(warnings)
    assert "CAP_NONESUCH, SYS_ADMIN" in told
    assert "CAP_CHOWN, CAP_KILL" in told
    assert "/process/capabilities" in told
    assert result.out == ""


def test_no_warning_without_a_reason(runtime: Runtime) -> None:
    names = ["CAP_KILL"]
    bundle = runtime.bundle().args("/bin/true")
    bundle.process["capabilities"] = dict.fromkeys(SETS, names)
    assert runtime.run(bundle).err == ""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="the host has no setpriv")
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_ambient_of_the_caller(runtime: Runtime, verb: str, uid: int) -> None:
    """What the caller may inherit, its runtime may; no process in a container does."""
    bundle = runtime.bundle()
    bundle.process["user"] = {"uid": uid, "gid": uid}
    if verb == "run":
        bundle.args("/bin/cat", "/proc/self/status").save()
        words = ["run", "--bundle", str(bundle.path), runtime.container(bundle).id]
    else:
        words = ["exec", runtime.start(bundle).id, "/bin/cat", "/proc/self/status"]
    argv = [
        "setpriv",
        "--inh-caps=+net_raw",
        "--ambient-caps=+net_raw",
        runtime.command,
        "--root",
        runtime.root,
        *words,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    status = inspection.parse_status(done.stdout)
    assert (int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0)


def test_inheritable_alone(runtime: Runtime) -> None:
    names = ["CAP_KILL"]
    found = sets_of(runtime, {"bounding": names, "effective": names, "permitted": names, "inheritable": names})
    assert found["inheritable"] == mask(KILL)


def test_no_capabilities_object(runtime: Runtime) -> None:
    """Absent means that nothing is asked for: an unprivileged user ends with none."""
    found = sets_of(runtime, None, uid=1000)
    assert found["effective"] == found["permitted"] == found["ambient"] == 0


def test_empty_sets(runtime: Runtime) -> None:
    assert sets_of(runtime, {}) == dict.fromkeys(SETS, 0)


def test_user_is_set_without_setuid_capability(runtime: Runtime) -> None:
    """The change of user happens before the capabilities are taken away."""
    assert sets_of(runtime, {}, uid=1000) == dict.fromkeys(SETS, 0)


def test_unknown_capability(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/true").capabilities("CAP_NONESUCH")
    result = runtime.run(bundle)
    assert result.code == 0 or "CAP_NONESUCH" in result.err, result


@pytest.mark.parametrize("nnp", [True, False])
def test_start_container_hook(runtime: Runtime, nnp: bool) -> None:
    """The image's program has what the container's has, and so has init, which it could trace."""
    bundle = runtime.bundle().args("/bin/true").capabilities("CAP_KILL", "CAP_SYS_PTRACE")
    bundle.process["noNewPrivileges"] = nnp
    bundle.hook("startContainer", "cat /proc/self/status > /work/hook; cat /proc/1/status > /work/init")
    assert runtime.run(bundle).code == 0
    for name in ("hook", "init"):
        status = inspection.parse_status((bundle.rootfs / "work" / name).read_text())
        assert {int(status[field], 16) for field in ("CapBnd", "CapEff", "CapPrm")} == {mask(KILL, SYS_PTRACE)}, name
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"] == str(int(nnp))


def test_created_init(runtime: Runtime) -> None:
    """While it waits for start it has no more than its program will have: exec may come before start."""
    container = runtime.create(runtime.bundle().capabilities("CAP_KILL"))
    status = inspection.status(container.pid)
    assert {int(status[field], 16) for field in ("CapBnd", "CapEff", "CapPrm")} == {mask(KILL)}
    assert (status["NoNewPrivs"], int(status["CapInh"], 16)) == ("1", 0)
