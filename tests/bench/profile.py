# SPDX-License-Identifier: Apache-2.0
"""podman's default seccomp profile as a runtime gets it, with its conditions resolved for this machine.

The file comes from containers-common (containers-seccomp.json(5) explains its properties).
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

FILE = Path("/usr/share/containers/seccomp.json")
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI_NAMES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def _meets(condition: dict[str, Any], architecture: str, capabilities: list[str]) -> list[bool]:
    made = []
    if condition.get("arches"):
        made.append(architecture in condition["arches"])
    if condition.get("caps"):
        made.append(all(cap in capabilities for cap in condition["caps"]))
    return made


def resolve(profile: dict[str, Any], machine: str, capabilities: list[str]) -> dict[str, Any]:
    """`linux.seccomp` of a config.json, for `machine` as uname(2) calls it and a container with `capabilities`."""
    own = next(entry for entry in profile["archMap"] if entry["architecture"] == OCI_NAMES[machine])
    syscalls = []
    for rule in profile["syscalls"]:
        wanted = _meets(rule.get("includes") or {}, GO_NAMES[machine], capabilities)
        unwanted = _meets(rule.get("excludes") or {}, GO_NAMES[machine], capabilities)
        if all(wanted) and not any(unwanted):
            made = {"names": rule["names"], "action": rule["action"]}
            if rule.get("args"):
                made["args"] = [{key: arg[key] for key in ("index", "value", "valueTwo", "op")} for arg in rule["args"]]
            if "errnoRet" in rule:
                made["errnoRet"] = rule["errnoRet"]
            syscalls.append(made)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [own["architecture"], *own["subArchitectures"]],
        "syscalls": syscalls,
    }


def load(capabilities: list[str]) -> dict[str, Any]:
    """Returns the profile for this machine. OSError if the file is not there."""
    return resolve(json.loads(FILE.read_text()), platform.machine(), capabilities)
