# SPDX-License-Identifier: Apache-2.0
"""What ``pyoci spec`` and ``pyoci features`` write."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyoci import SPEC_VERSION, VERSION
from pyoci.config import check, default, features, schemas, supported
from pyoci.kernel import capabilities, mounts


def runc_spec(directory: Path, *flags: str) -> dict[str, Any]:
    if not shutil.which("runc"):
        pytest.skip("runc is not installed: nothing to compare with")
    subprocess.run(["runc", "spec", "--bundle", str(directory), *flags], check=True, timeout=60)
    document: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("rootless", [False, True])
def test_config_is_that_of_runc(tmp_path: Path, rootless: bool) -> None:
    expected = runc_spec(tmp_path, *(["--rootless"] if rootless else []))
    found = default.config(rootless)
    assert found.pop("ociVersion") == SPEC_VERSION
    del expected["ociVersion"]
    # Older ones (Debian 12's) ask for ambient capabilities that the kernel refuses, and leave the TPM in sight.
    expected["process"]["capabilities"].pop("ambient", None)
    masked = expected["linux"]["maskedPaths"]
    masked += [path for path in ("/sys/devices/virtual/tpm",) if path not in masked]
    assert found == expected


def test_config_is_fresh_each_time() -> None:
    default.config()["process"]["args"].append("x")
    default.config()["mounts"].clear()
    assert default.config()["process"]["args"] == ["sh"]
    assert len(default.config()["mounts"]) == len(default.MOUNTS)


def test_features_are_those_of_the_schema() -> None:
    from jsonschema import Draft202012Validator

    document = features.document()
    Draft202012Validator(schemas.load("features")).validate(document)
    # an error is one: the validator looks at this document at all
    assert not Draft202012Validator(schemas.load("features")).is_valid({**document, "hooks": [7]})
    assert json.loads(json.dumps(document)) == document


def test_features_name_everything_that_is_built() -> None:
    document = features.document()
    linux = document["linux"]
    assert document["mountOptions"] == list(mounts.OPTION_NAMES)
    assert "rro" in document["mountOptions"], "containerd looks for it"
    assert document["annotations"]["io.pyoci.version"] == VERSION
    assert document["hooks"] == list(schemas.load("config")["properties"]["hooks"]["properties"])
    assert linux["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert linux["capabilities"] == list(capabilities.BITS)
    assert len(linux["capabilities"]) == 41
    assert "SCMP_ACT_NOTIFY" not in linux["seccomp"]["actions"]
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(linux["seccomp"]["archs"])
    for name in ("apparmor", "selinux", "intelRdt", "netDevices"):
        assert linux[name]["enabled"] is False


def test_features_accept_their_own_versions() -> None:
    document = features.document()
    for name in ("ociVersionMin", "ociVersionMax"):
        check.config({**default.config(), "ociVersion": document[name]})
    assert tuple(map(int, document["ociVersionMin"].split("."))) < tuple(map(int, document["ociVersionMax"].split(".")))


def test_features_keep_what_is_refused_out_of_the_lists() -> None:
    """A mount option that the check refuses by name may not be promised."""
    assert "dest-nofollow" in supported.values("/mounts/*/options/*")
    assert not set(features.document()["mountOptions"]) & set(supported.values("/mounts/*/options/*"))
    flags = features.document()["linux"]["seccomp"]["supportedFlags"]
    assert "SECCOMP_FILTER_FLAG_LOG" in flags
    assert "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" not in flags


def test_features_follow_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A property that gets built is a row that changes, and features tells it."""
    rows = ("/process/apparmorProfile", "/process/selinuxLabel", "/linux/intelRdt", "/mounts/*/uidMappings")
    for row in (*rows, "/linux/netDevices", "/linux/memoryPolicy", "/linux/resources/rdma", "--systemd-cgroup"):
        monkeypatch.setitem(supported.TABLE, row, supported.built("nowhere"))
    for row in ("/linux/seccomp/defaultAction=SCMP_ACT_NOTIFY", "/mounts/*/options/*=idmap"):
        monkeypatch.setitem(supported.TABLE, row, supported.built("nowhere"))
    linux = features.document()["linux"]
    for name in ("apparmor", "selinux", "intelRdt", "netDevices"):
        assert linux[name]["enabled"] is True, name
    assert linux["mountExtensions"]["idmap"]["enabled"] is True
    assert linux["cgroup"]["rdma"] is linux["cgroup"]["systemd"] is True
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
    assert "MPOL_BIND" in linux["memoryPolicy"]["modes"]
