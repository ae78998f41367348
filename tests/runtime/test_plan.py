# SPDX-License-Identifier: Apache-2.0
"""`pyoci plan` is what `create` does: the same refusals in the same words, or the same operations, line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness.bundle import Bundle
from harness.console import ConsoleSocket
from harness.runtime import Runtime

CORPUS = Path(__file__).parents[1] / "unit/corpus"
FULL: dict[str, Any] = json.loads((CORPUS / "full-config.json").read_text())
FULL["linux"]["resources"]["cpu"].update(cpus="0", mems="0")  # which every machine has
CACHE = Path("/run/pyoci-cache/seccomp")


def _properties(document: dict[str, Any], at: str, depth: int) -> list[str]:
    """JSON pointers of the properties of a document, down to a depth."""
    found = []
    for key, value in document.items():
        found.append(f"{at}/{key}")
        if depth > 1 and isinstance(value, dict) and key not in ("annotations", "sysctl", "netDevices"):
            found += _properties(value, f"{at}/{key}", depth - 1)
    return found


PROPERTIES = [pointer for pointer in _properties(FULL, "", 4) if pointer != "/root/path"]


@pytest.fixture(autouse=True)
def only_pyoci(runtime: Runtime) -> None:
    if runtime.kind != "pyoci":
        pytest.skip(f"{runtime.kind} has no plan")


def graft(config: dict[str, Any], pointer: str) -> None:
    """Puts one property of the full document into another."""
    source, target = FULL, config
    *above, last = pointer.split("/")[1:]
    for key in above:
        source, target = source[key], target.setdefault(key, {})
    target[last] = source[last]


def planned(runtime: Runtime, bundle: Bundle, *flags: str | Path) -> list[str]:
    return runtime.ok("plan", "--bundle", bundle.path, "--id", bundle.name, *flags).out.splitlines()


def told(log: Path) -> list[str]:
    """The steps that a log of --debug tells, without their times."""
    messages = [json.loads(line)["msg"].partition(" ms: ")[2] for line in log.read_text().splitlines()]
    return [message for message in messages if message.startswith(("runtime  ", "init     "))]


def by(who: str, lines: list[str]) -> list[str]:
    """The steps of the runtime, or of init. Hooks of later verbs are not create's."""
    later = ("runtime  hook poststart ", "runtime  hook poststop ")
    return [line for line in lines if line.startswith(who) and not line.startswith(later)]


def compare(runtime: Runtime, bundle: Bundle, *flags: str | Path) -> None:
    """Asks for the plan, then creates the container."""
    bundle.save()
    container = runtime.container(bundle)
    log = runtime.tmp / "log"
    words = ["--bundle", bundle.path, *flags]
    plan = runtime.call("plan", "--id", container.id, *words)
    assert not runtime.root.exists(), "plan has an effect"
    created = runtime.call("--debug", "--log", log, "--log-format", "json", "create", *words, container.id)
    assert "internal error" not in plan.err + created.err
    if plan.code != 0:
        assert (created.code, created.err) == (plan.code, plan.err)
        assert plan.out == ""
        return
    lines, done = plan.out.splitlines(), told(log)
    assert by("init", done) == by("init", lines) != []
    if created.code == 0:
        assert by("runtime", done) == by("runtime", lines)
    else:  # the kernel, a hook or a missing source said no, when init had the plan
        assert by("runtime", done) == by("runtime", lines)[: len(by("runtime", done))]
    steps = json.loads(runtime.ok("plan", "--format", "json", "--id", container.id, *words).out)
    assert [step["by"] for step in steps] == [line.split()[0] for line in lines]
    assert [step["operation"] for step in steps if step["by"] == "init"] == [
        line.split()[1] for line in lines if line.startswith("init")
    ]


@pytest.mark.parametrize("name", ["containerd.json", "docker.json", "podman.json", "full-config.json"])
@pytest.mark.parametrize("rootfs", [False, True], ids=["as it is", "with a root file system"])
def test_documents_of_engines(runtime: Runtime, name: str, rootfs: bool) -> None:
    bundle = runtime.bundle()
    bundle.config = json.loads((CORPUS / name).read_text())
    bundle.linux["cgroupsPath"] = f"/{bundle.name}"
    if rootfs:
        bundle.config["root"]["path"] = "rootfs"
    compare(runtime, bundle)


@pytest.mark.parametrize("pointer", PROPERTIES)
def test_each_property(runtime: Runtime, pointer: str) -> None:
    bundle = runtime.bundle()
    graft(bundle.config, pointer)
    if pointer in ("/linux", "/linux/cgroupsPath"):
        bundle.linux["cgroupsPath"] = f"/{bundle.name}-path"
    compare(runtime, bundle)


@pytest.mark.parametrize("pointer", PROPERTIES)
def test_each_property_in_a_user_namespace(runtime: Runtime, pointer: str) -> None:
    """Such plans ended with an internal error."""
    bundle = runtime.bundle().map_users()
    graft(bundle.config, pointer)
    if pointer in ("/linux", "/linux/cgroupsPath"):
        bundle.linux["cgroupsPath"] = f"/{bundle.name}-path"
    compare(runtime, bundle)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time"])
def test_joined_namespaces(runtime: Runtime, kind: str) -> None:
    other = runtime.start(runtime.bundle("other").namespace("cgroup").namespace("time"))
    bundle = runtime.bundle().namespace(kind, f"/proc/{other.pid}/ns/{'net' if kind == 'network' else kind[:5]}")
    other.runtime.root.rename(runtime.tmp / "elsewhere")  # compare() looks for a root that plan makes
    try:
        compare(runtime, bundle)
        runtime.call("delete", "--force", bundle.name)
    finally:
        for left in runtime.root.iterdir() if runtime.root.exists() else ():
            left.rename(runtime.tmp / "elsewhere" / left.name)
        if runtime.root.exists():
            runtime.root.rmdir()
        (runtime.tmp / "elsewhere").rename(runtime.root)


@pytest.mark.parametrize("flag", ["--no-pivot", "--no-new-keyring", "--preserve-fds=2"])
def test_flags(runtime: Runtime, flag: str) -> None:
    compare(runtime, runtime.bundle(), flag)


def test_hooks_with_their_commands(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/sleep", "100")
    stages = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    for stage in stages:
        bundle.hook(stage, f"true {stage}", timeout=3)
    compare(runtime, bundle)
    lines = [line for line in planned(runtime, bundle) if line.split()[1] == "hook"]
    assert [line.rpartition("/hooks/")[2] for line in lines] == [f"{stage}/0" for stage in stages]
    for stage, line in zip(stages, lines, strict=True):
        assert f"/bin/sh sh -c 'true {stage}'" in line
        assert "PATH=/bin:/usr/bin:/usr/sbin" in line and "3000 ms" in line


def test_terminal(runtime: Runtime) -> None:
    """With nobody to take it both refuse; plan connects to nobody."""
    bundle = runtime.bundle()
    bundle.process["terminal"] = True
    bundle.save()
    assert "terminal" in runtime.fails("plan", "--bundle", bundle.path)
    with ConsoleSocket(runtime.tmp / "console") as console:
        compare(runtime, bundle, "--console-socket", console.path)
        console.receive()
    with pytest.raises(OSError):
        console.listener.accept()


def test_missing_root_file_system(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.config["root"]["path"] = "nonesuch"
    bundle.save()
    assert "/root/path" in runtime.fails("plan", "--bundle", bundle.path)
    compare(runtime, bundle)


def test_limits_rules_score_and_filter_are_shown(runtime: Runtime) -> None:
    """What the plan of init alone did not show."""
    bundle = runtime.bundle()
    bundle.linux["resources"].update({"memory": {"limit": 64 << 20}, "pids": {"limit": 77}})
    bundle.process["oomScoreAdj"] = 123
    rules = [{"names": ["mkdir", "rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]
    rules += [{"names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    compare(runtime, bundle)
    text = "\n".join(planned(runtime, bundle))
    for words in (
        f"{64 << 20}  # /linux/resources/memory/limit",
        "77  # /linux/resources/pids/limit",
        "deny a *:* rwm  # /linux/resources/devices/0",
        "oom_score_adj 123  # /process/oomScoreAdj",
        "filter errno(7) mkdir rmdir  # /linux/seccomp/syscalls/0",
        "filter trap kill if arg1 == 9  # /linux/seccomp/syscalls/1",
        "filter allow all others  # /linux/seccomp/defaultAction",
        "CAP_KILL",
    ):
        assert words in text


def test_plan_keeps_no_filter(runtime: Runtime) -> None:
    """A profile that nobody has compiled yet is compiled, and not put into the cache."""
    bundle = runtime.bundle()
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 + os.getpid() % 4000}]
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    bundle.save()
    before = sorted(os.listdir(CACHE)) if CACHE.exists() else []
    assert any(line.startswith("init     seccomp ") for line in planned(runtime, bundle))
    assert (sorted(os.listdir(CACHE)) if CACHE.exists() else []) == before


@pytest.mark.parametrize("flag", ["--format=yaml", "--id=../x"])
def test_flags_that_are_refused(runtime: Runtime, flag: str) -> None:
    bundle = runtime.bundle().save()
    runtime.fails("plan", flag, "--bundle", bundle.path)
