# SPDX-License-Identifier: Apache-2.0
"""The features document: what this runtime supports (features.md, features-linux.md)."""

from __future__ import annotations

from pyoci import SPEC_VERSION, VERSION
from pyoci.config import schemas
from pyoci.config.normal import HOOKS
from pyoci.config.supported import is_built, values
from pyoci.kernel import capabilities
from pyoci.kernel.mounts import OPTION_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyoci.config.documents import Features, LinuxFeatures, SeccompFeatures

# Annotations that may change what the runtime does, now or in a later version. A final dot marks a prefix.
UNSAFE_ANNOTATIONS = ("org.criu.config", "org.systemd.property.", "run.oci.")


def document() -> Features:
    """Returns the features document. It describes this version, not the host."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": _without(OPTION_NAMES, "/mounts/*/options/*"),
        "linux": _linux(),
        "annotations": {"io.pyoci.commit": _commit(), "io.pyoci.version": VERSION},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _linux() -> LinuxFeatures:
    known = schemas.load("features")["properties"]["linux"]["properties"]
    rdt = is_built("/linux/intelRdt")
    linux: LinuxFeatures = {
        "namespaces": sorted(known["namespaces"]["items"]["enum"]),
        "capabilities": list(capabilities.BITS),
        "cgroup": {
            "v1": True,
            "v2": True,
            "systemd": is_built("--systemd-cgroup"),
            "systemdUser": is_built("--systemd-cgroup"),
            "rdma": is_built("/linux/resources/rdma"),
        },
        "seccomp": _seccomp(known["seccomp"]["properties"]),
        "apparmor": {"enabled": is_built("/process/apparmorProfile")},
        "selinux": {"enabled": is_built("/process/selinuxLabel")},
        "intelRdt": {"enabled": rdt, "schemata": rdt, "monitoring": rdt},
        "mountExtensions": {"idmap": {"enabled": is_built("/mounts/*/uidMappings")}},
        "netDevices": {"enabled": is_built("/linux/netDevices")},
    }
    if is_built("/linux/memoryPolicy"):
        policy = known["memoryPolicy"]["properties"]
        linux["memoryPolicy"] = {"modes": policy["modes"]["items"]["enum"], "flags": policy["flags"]["items"]["enum"]}
    return linux


def _seccomp(known: dict[str, Any]) -> SeccompFeatures:
    names = {name: each["items"]["enum"] for name, each in known.items() if "items" in each}
    return {
        "enabled": True,
        "actions": _without(names["actions"], "/linux/seccomp/defaultAction"),
        "operators": names["operators"],
        "archs": names["archs"],
        "knownFlags": names["knownFlags"],
        "supportedFlags": _without(names["supportedFlags"], "/linux/seccomp/flags/*"),
    }


def _without(names: Iterable[str], row: str) -> list[str]:
    """Returns the names that are built as values at a place."""
    unbuilt = values(row)
    return [name for name in names if name not in unbuilt]


def _commit() -> str:
    """Returns the commit of the build, or "" if it is unknown."""
    try:
        from pyoci._commit import COMMIT
    except ImportError:
        return ""
    return str(COMMIT)
