# SPDX-License-Identifier: Apache-2.0
"""What a bundle, an image or a caller names reaches a terminal or a log without control characters, and bounded."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.bundle import Bundle, bind, mount
from harness.runtime import Result, Runtime

# An escape sequence, BEL, a CSI of one character, a turn of the direction of writing, CR, DEL.
HOSTILE = "\x1b[31m\x07\u009b\u202e\r\x7f"
LONG = HOSTILE + "x" * 3000
BOUND = 8000  # characters of a message: the longest path (4095), twice, is not cut
DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def commands(text: str) -> list[str]:
    """The characters that a terminal would obey."""
    return sorted(
        {
            one
            for one in text.replace("\n", "")
            if unicodedata.category(one) == "Cc" or unicodedata.bidirectional(one) in DIRECTIONS
        }
    )


def assert_plain(runtime: Runtime, result: Result, log: Path) -> None:
    """One line on stderr, one message in the log, and both say nothing to a terminal."""
    assert commands(result.err) == [], result
    assert len(result.err.splitlines()) <= 1, result
    assert len(result.err) < BOUND, result
    assert "internal error" not in result.err, result
    assert commands(result.out) == [], result
    for line in log.read_text(errors="surrogateescape").splitlines():
        message = json.loads(line)["msg"]
        assert commands(line) == commands(message) == [], line
        assert len(message) < BOUND, line


def call(runtime: Runtime, *words: str | Path) -> Result:
    log = runtime.tmp / f"log-{runtime.number()}"
    result = runtime.call("--log", log, "--log-format", "json", *words)
    assert_plain(runtime, result, log)
    return result


def set_property(path: str) -> Callable[[Bundle, str], None]:
    def change(bundle: Bundle, text: str) -> None:
        *parents, last = path.split(".")
        target: Any = bundle.config
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = text

    return change


def link_to_program(bundle: Bundle, text: str) -> None:
    """A script whose interpreter has that name."""
    (bundle.rootfs / "bin/script").write_text(f"#!/bin/{HOSTILE.replace(chr(13), '')}\n")
    (bundle.rootfs / "bin/script").chmod(0o755)
    bundle.args("/bin/script")


def directory_as_program(bundle: Bundle, text: str) -> None:
    (bundle.rootfs / "bin" / HOSTILE).mkdir()
    bundle.args(f"/bin/{HOSTILE}")


def database(bundle: Bundle, text: str) -> None:
    (bundle.rootfs / "etc/passwd").write_text(f"{text}:x:0:0:{text}:{text}:{text}\n")


def limit(name: str, value: Any) -> Callable[[Bundle, str], None]:
    return lambda bundle, text: bundle.linux["resources"].update({name: value(text)})


CONFIGS: dict[str, Callable[[Bundle, str], Any]] = {
    **{
        path: set_property(path)
        for path in (
            *("process.cwd", "root.path", "linux.cgroupsPath", "hostname", "domainname", "ociVersion"),
            *("process.selinuxLabel", "process.apparmorProfile", "linux.mountLabel", "linux.rootfsPropagation"),
        )
    },
    "program": lambda bundle, text: bundle.args(f"/bin/{text}"),
    "program in PATH": lambda bundle, text: bundle.args(text),
    "directory as the program": directory_as_program,
    "interpreter": link_to_program,
    "PATH": lambda bundle, text: (bundle.process.update(env=[f"PATH=/{text}"]), bundle.args("nonesuch")),
    "variable": lambda bundle, text: bundle.process.update(env=[text]),
    "passwd": database,
    "destination": lambda bundle, text: bundle.mounts.append(mount(f"/{text}", "nonesuch", "x")),
    "type of a mount": lambda bundle, text: bundle.mounts.append(mount("/x", text, "x")),
    "option": lambda bundle, text: bundle.mounts.append(mount("/x", "tmpfs", "x", text)),
    "source": lambda bundle, text: bundle.mounts.append(bind(f"/{text}", "/x")),
    "destination in a file": lambda bundle, text: bundle.mounts.append(bind("/etc", f"/bin/busybox/{HOSTILE}")),
    "namespace path": lambda bundle, text: bundle.namespace("network", f"/{text}"),
    "namespace type": lambda bundle, text: bundle.namespace(text),
    "masked path": lambda bundle, text: bundle.linux.update(maskedPaths=[f"/bin/busybox/{text}"]),
    "sysctl": lambda bundle, text: bundle.linux.update(sysctl={f"net.{text}": "1"}),
    "value of a sysctl": lambda bundle, text: bundle.linux.update(sysctl={"net.ipv4.ip_forward": text}),
    "device": lambda bundle, text: bundle.linux.update(devices=[{"path": f"/{text}", "type": "q"}]),
    "capability": lambda bundle, text: bundle.capabilities(f"CAP_{text}"),
    "rlimit": lambda bundle, text: bundle.process.update(rlimits=[{"type": text, "soft": 1, "hard": 1}]),
    "action": lambda bundle, text: bundle.linux.update(seccomp={"defaultAction": text}),
    "unified": limit("unified", lambda text: {text: "1"}),
    "page size": limit("hugepageLimits", lambda text: [{"pageSize": text, "limit": 1}]),
    "unknown property": lambda bundle, text: bundle.config.update({text: 1, "process": 1}),
}


@pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["hostile", "long"])
@pytest.mark.parametrize("name", CONFIGS)
def test_configuration(runtime: Runtime, name: str, text: str) -> None:
    bundle = runtime.bundle().args("/bin/true")
    CONFIGS[name](bundle, text)
    bundle.save()
    call(runtime, "run", "--bundle", bundle.path, runtime.container(bundle).id)
    call(runtime, "plan", bundle.path)


@pytest.mark.parametrize(
    "words",
    [
        ["state", "TEXT"],
        ["delete", "--force", "TEXT"],
        ["TEXT"],
        ["run", "--TEXT"],
        ["kill", "none", "TEXT"],
        ["--root", "/proc/TEXT", "run", "--bundle", "BUNDLE", "none"],
        ["run", "--bundle", "/TEXT", "none"],
        ["run", "--config", "TEXT", "--bundle", "BUNDLE", "none"],
        ["run", "--pid-file", "/TEXT/pid", "--bundle", "BUNDLE", "none"],
        ["run", "--detach", "--pidfd-socket", "/TEXT/socket", "--bundle", "BUNDLE", "none"],
        ["delete", "--regex", "(TEXT"],
        ["list", "--format", "TEXT"],
        ["--log-format", "TEXT", "list"],
        ["--log-level", "TEXT", "list"],
        ["--cgroup-manager", "TEXT", "list"],
    ],
)
@pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["hostile", "long"])
def test_command_line(runtime: Runtime, words: list[str], text: str) -> None:
    bundle = runtime.bundle().args("/bin/true").save()
    values = [word.replace("TEXT", text).replace("BUNDLE", str(bundle.path)) for word in words]
    log = runtime.tmp / "log"
    log.touch()
    result = runtime.call("--log", log, *values)
    assert result.code == 1, result
    assert commands(result.err) == [], result
    assert len(result.err) < BOUND, result
    assert commands(log.read_text(errors="surrogateescape")) == []


@pytest.mark.parametrize(
    "words",
    [
        ["ID", "/TEXT"],
        ["--cwd", "/TEXT", "ID", "/bin/true"],
        ["--user", "TEXT", "ID", "/bin/true"],
        ["--env", "TEXT", "ID", "/bin/true"],
        ["--cap", "TEXT", "ID", "/bin/true"],
        ["--process", "/TEXT", "ID"],
        ["--cgroup", "/TEXT", "ID", "/bin/true"],
    ],
)
def test_exec(runtime: Runtime, words: list[str]) -> None:
    container = runtime.start(runtime.bundle())
    for text in (HOSTILE, LONG):
        call(runtime, "exec", *(container.id if word == "ID" else word.replace("TEXT", text) for word in words))


def test_bundle_and_annotations(runtime: Runtime) -> None:
    """What other verbs show of a container: its bundle's path, and what stands in its configuration."""
    bundle = runtime.bundle()
    bundle.config["annotations"] = {HOSTILE: HOSTILE}
    bundle.save()
    place = runtime.tmp / f"bundle {HOSTILE}"
    os.rename(bundle.path, place)
    container = runtime.container(bundle)
    call(runtime, "create", "--bundle", place, container.id)
    for words in (["state", container.id], ["list"], ["list", "--format", "json"], ["plan", str(place)]):
        assert call(runtime, *words).code == 0
    assert container.state()["bundle"] == str(place)
    assert container.state()["annotations"] == {HOSTILE: HOSTILE}
    runtime.ok("delete", "--force", container.id)


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_hooks(runtime: Runtime, stage: str) -> None:
    """The path of a hook that is not there, and what one prints that fails: its last line, cut."""
    for text in (HOSTILE, LONG):
        bundle = runtime.bundle().args("/bin/true")
        bundle.config["hooks"] = {stage: [{"path": f"/{text}"}]}
        bundle.save()
        result = call(runtime, "run", "--bundle", bundle.path, runtime.container(bundle).id)
        assert result.code == 1, result
    printed = r"printf '\033[31m\007\302\233\r%s%s\n' the-reason $(head -c 3000 /dev/zero | tr '\0' x) >&2"
    bundle = runtime.bundle().args("/bin/true").hook(stage, f"{printed}; {printed}; exit 3").save()
    result = call(runtime, "run", "--bundle", bundle.path, runtime.container(bundle).id)
    assert result.code == 1, result
    assert "the-reason" in result.err or "xxxx" in result.err, result
    assert result.err.count("x") < 500


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_hook_that_prints_without_end(runtime: Runtime, stage: str) -> None:
    """Megabytes are read and thrown away: they fill neither memory nor a log, and hold nobody up."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.hook(stage, "head -c 20000000 /dev/zero | tr '\\0' x; head -c 20000000 /dev/zero | tr '\\0' y >&2; exit 4")
    bundle.linux["resources"]["memory"] = {"limit": 12 << 20}
    bundle.save()
    result = call(runtime, "run", "--bundle", bundle.path, runtime.container(bundle).id)
    assert result.code == 1, result
    assert "exit status 4" in result.err
    assert len(result.err) < 1000
