# SPDX-License-Identifier: Apache-2.0
"""What this runtime can do, for those who call it: the features document (features.md, features-linux.md)."""

from __future__ import annotations

from typing import Any

from pyoci import SPEC_VERSION, VERSION
from pyoci.config import schemas
from pyoci.kernel import capabilities
from pyoci.kernel.mounts import OPTION_NAMES

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Annotations that may change what the runtime does, now or in a later version of it; the last dot makes a prefix.
UNSAFE_ANNOTATIONS = ("org.criu.config", "org.systemd.property.", "run.oci.")


def document() -> dict[str, Any]:
    """The features document: what this version can do, whether or not the host can."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": list(OPTION_NAMES),
        "linux": _linux(),
        "annotations": {"io.pyoci.commit": _commit(), "io.pyoci.version": VERSION},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _linux() -> dict[str, Any]:
    known = schemas.load("features")["properties"]["linux"]["properties"]
    seccomp = {name: each["items"]["enum"] for name, each in known["seccomp"]["properties"].items() if "items" in each}
    # Without notifications to an agent (pyoci/config/supported.py).
    seccomp["actions"] = [name for name in seccomp["actions"] if name != "SCMP_ACT_NOTIFY"]
    seccomp["supportedFlags"] = [name for name in seccomp["supportedFlags"] if not name.endswith("_WAIT_KILLABLE_RECV")]
    return {
        "namespaces": sorted(known["namespaces"]["items"]["enum"]),
        "capabilities": list(capabilities.BITS),
        "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
        "seccomp": {"enabled": True, **seccomp},
        "apparmor": {"enabled": False},
        "selinux": {"enabled": False},
        "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
        "mountExtensions": {"idmap": {"enabled": False}},
        "netDevices": {"enabled": False},
    }


def _commit() -> str:
    """The commit that the build was made from; empty in a tree that was never built."""
    try:
        from pyoci._commit import COMMIT
    except ImportError:
        return ""
    return str(COMMIT)
