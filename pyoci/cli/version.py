# SPDX-License-Identifier: Apache-2.0
"""``pyoci --version``: docker and podman parse the first three lines."""

from __future__ import annotations

import sys

import pyoci
from pyoci.cli.output import write


def show() -> int:
    """Prints what this is and what it stands on; 0."""
    lines = [
        f"pyoci version {pyoci.VERSION}",
        f"commit: {_commit()}",
        f"spec: {pyoci.SPEC_VERSION}",
        f"launcher: {getattr(sys, 'pyoci_launcher', 'none, python3 -m pyoci')}",
        f"python: {sys.version.split()[0]}",
        f"libseccomp: {_libseccomp()}",
    ]
    write("\n".join(lines) + "\n")
    return 0


def _commit() -> str:
    """The commit that the build was made from; a tree that was never built does not know."""
    try:
        from pyoci._commit import COMMIT
    except ImportError:
        return "unknown"
    return str(COMMIT)


def _libseccomp() -> str:
    """The version that the file of the shared library carries in its name, if it is one."""
    try:
        from pyoci.seccomp import profile

        _, suffix, version = profile.library().rpartition(".so.")
        return version if suffix else "linked in"
    except ImportError:
        return "none"
