# SPDX-License-Identifier: Apache-2.0
"""Malformed configs: refused with one line that names the property, in time, and nothing is left."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from harness.runtime import Runtime

# name -> (path into the config, value, word that the error must hold)
CASES: dict[str, tuple[str, Any, str]] = {
    "version missing": ("ociVersion", None, "ociVersion"),
    "version of another type": ("ociVersion", 1, "ociVersion"),
    "version nonsense": ("ociVersion", "one", "ociVersion"),
    "version of the future": ("ociVersion", "2.0.0", "ociVersion"),
    "process missing": ("process", None, "process"),
    "process of another type": ("process", [], "process"),
    "args missing": ("process.args", None, "args"),
    "args a text": ("process.args", "sh", "args"),
    "args with a number": ("process.args", ["sh", 1], "args"),
    "args with a NUL": ("process.args", ["/bin/echo", "a\0b"], "args"),
    "env a map": ("process.env", {"A": "1"}, "env"),
    "cwd missing": ("process.cwd", None, "cwd"),
    "cwd relative": ("process.cwd", "work", "cwd"),
    "cwd a number": ("process.cwd", 1, "cwd"),
    "terminal a text": ("process.terminal", "no", "terminal"),
    "uid a text": ("process.user.uid", "root", "uid"),
    "uid negative": ("process.user.uid", -1, "uid"),
    "uid that means none": ("process.user.uid", 4294967295, "uid"),
    "uid too large": ("process.user.uid", 1 << 32, "uid"),
    "uid far too large": ("process.user.uid", 1 << 64, "uid"),
    "uid a fraction": ("process.user.uid", 1.5, "uid"),
    "additional gid negative": ("process.user.additionalGids", [-5], "additionalGids"),
    "rlimit soft above hard": ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}], "rlimits"),
    "rlimit unknown": ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "RLIMIT_X"),
    "capabilities a list": ("process.capabilities", ["CAP_KILL"], "capabilities"),
    "root missing": ("root", None, "root"),
    "root path empty": ("root.path", "", "path"),
    "root path a list": ("root.path", ["rootfs"], "path"),
    "mount without a destination": ("mounts", [{"type": "tmpfs", "source": "tmpfs"}], "destination"),
    "mounts a map": ("mounts", {"destination": "/x"}, "mounts"),
    "mount options a text": ("mounts", [{"destination": "/x", "type": "tmpfs", "options": "ro"}], "options"),
    "namespace type missing": ("linux.namespaces", [{"path": "/proc/1/ns/net"}], "type"),
    "namespace type unknown": ("linux.namespaces", [{"type": "nonesuch"}], "nonesuch"),
    "namespace path relative": (
        "linux.namespaces",
        [{"type": "mount"}, {"type": "network", "path": "ns/net"}],
        "ns/net",
    ),
    "namespaces a text": ("linux.namespaces", "all", "namespaces"),
    "mount namespace missing": ("linux.namespaces", [{"type": "pid"}], "mount"),
    "cgroups path a number": ("linux.cgroupsPath", 7, "cgroupsPath"),
    "memory limit a text": ("linux.resources.memory", {"limit": "64M"}, "limit"),
    "cpu shares negative": ("linux.resources.cpu", {"shares": -1}, "shares"),
    "device rule without allow": ("linux.resources.devices", [{"access": "rwm"}], "allow"),
    "device rule of an unknown access": ("linux.resources.devices", [{"allow": True, "access": "xyz"}], "access"),
    "device path relative": ("linux.devices", [{"path": "dev/x", "type": "c", "major": 1, "minor": 3}], "path"),
    "masked path empty": ("linux.maskedPaths", [""], "maskedPaths"),
    "readonly paths a text": ("linux.readonlyPaths", "/proc/sys", "readonlyPaths"),
    "sysctl a number": ("linux.sysctl", {"net.ipv4.ip_forward": 1}, "ip_forward"),
    "seccomp without a default": ("linux.seccomp", {"syscalls": []}, "defaultAction"),
    "seccomp operator": (
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_X"}]}
            ],
        },
        "SCMP_CMP_X",
    ),
    "seccomp argument seven": (
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 7, "value": 1, "op": "SCMP_CMP_EQ"}]}
            ],
        },
        "index",
    ),
    "hooks a list": ("hooks", [], "hooks"),
    "hook without a path": ("hooks", {"prestart": [{"args": ["x"]}]}, "path"),
    "hook path relative": ("hooks", {"createRuntime": [{"path": "bin/true"}]}, "path"),
    "annotations with a number": ("annotations", {"a": 1}, "annotations"),
    "hostname a number": ("hostname", 1, "hostname"),
}
VERSIONS = ["1.0.0", "1.0.2-dev", "1.3.0", "1.4.0", "1.30.1-rc.1+up"]  # a minor version only adds, so says the semver
NOT_JSON = {
    "empty": b"",
    "half": b'{"ociVersion": "1.0.2", "process": {',
    "list": b"[]",
    "null": b"null",
    "text": b'"x"',
    "not utf-8": b'{"ociVersion": "\xff\xfe"}',
    "nul": b"\0" * 64,
    "two": b"{}{}",
    "deep": b"[" * 100000,
}


def assert_refused(runtime: Runtime, error: str, word: str) -> None:
    assert word.lower() in error.lower(), error
    assert len(error.strip().splitlines()) == 1, error
    runtime.assert_clean()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_1_is_accepted(runtime: Runtime, version: str) -> None:
    """The first engine that writes the next minor version must not stop every container."""
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.config["ociVersion"] = version
    assert runtime.output(bundle) == "ok\n"


@pytest.mark.parametrize("name", CASES)
def test_config(runtime: Runtime, name: str) -> None:
    path, value, word = CASES[name]
    bundle = runtime.bundle()
    *parents, last = path.split(".")
    target = bundle.config
    for parent in parents:
        target = target.setdefault(parent, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    bundle.save()
    error = runtime.fails("create", "--bundle", bundle.path, runtime.container(bundle).id, timeout=5)
    assert_refused(runtime, error, word)


@pytest.mark.parametrize("name", NOT_JSON)
def test_not_json(runtime: Runtime, name: str) -> None:
    bundle = runtime.bundle()
    (bundle.path / "config.json").write_bytes(NOT_JSON[name])
    error = runtime.fails("create", "--bundle", bundle.path, runtime.container(bundle).id, timeout=5)
    assert_refused(runtime, error, "config.json" if runtime.kind == "pyoci" else "")


def test_config_is_a_directory(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    (bundle.path / "config.json").mkdir()
    runtime.fails("create", "--bundle", bundle.path, bundle.name, timeout=5)
    runtime.assert_clean()


def test_config_is_a_fifo(runtime: Runtime) -> None:
    """A reader that opens it without care waits for ever."""
    bundle = runtime.bundle()
    os.mkfifo(bundle.path / "config.json")
    runtime.fails("create", "--bundle", bundle.path, bundle.name, timeout=5)
    runtime.assert_clean()


def test_unknown_properties_are_ignored(runtime: Runtime) -> None:
    """The specification: a runtime must not refuse what it does not know."""
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.config["org.example.unknown"] = {"a": 1}
    bundle.process["future"] = True
    assert runtime.output(bundle) == "ok\n"


def test_null_is_absent(runtime: Runtime) -> None:
    """Go writes null for an empty list."""
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.config["annotations"] = bundle.config["hooks"] = None
    bundle.linux["devices"] = bundle.linux["sysctl"] = bundle.linux["seccomp"] = None
    bundle.process["rlimits"] = None
    assert runtime.output(bundle) == "ok\n"


def test_large_config(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/sh", "-c", "echo ${#BIG}")
    bundle.process["env"].append("BIG=" + "x" * 100000)
    bundle.config["annotations"] = {f"org.example.{number}": "v" * 100 for number in range(5000)}
    assert len(json.dumps(bundle.config)) > 500000
    assert runtime.output(bundle) == "100000\n"


def test_errors_name_the_file_that_was_read(runtime: Runtime) -> None:
    """--config names another: what fails later, on the host or in the container, names it too."""
    bundle = runtime.bundle().save()
    for change, pointer in (
        ({"process": {**bundle.process, "cwd": "work"}}, "/process/cwd"),
        ({"root": {"path": "nowhere"}}, "/root/path"),
        ({"process": {**bundle.process, "cwd": "/bin/busybox"}}, "/process/cwd"),
    ):
        (bundle.path / "other.json").write_text(json.dumps({**bundle.config, **change}))
        flags = ["--bundle", bundle.path, "--config", "other.json"]
        error = runtime.fails("create", *flags, runtime.container(bundle).id)
        assert f"other.json: {pointer}" in error
        assert "config.json" not in error
