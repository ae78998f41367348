# SPDX-License-Identifier: Apache-2.0
"""``pyoci --version``: prints versions. docker and podman parse the first three lines."""

from __future__ import annotations

import sys

import pyoci
from pyoci.cli.output import write


def show() -> int:
    """Prints the versions of pyoci and of what it uses. Returns 0."""
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
    """Returns the commit of the build, or "unknown"."""
    try:
        from pyoci._commit import COMMIT
    except ImportError:
        return "unknown"
    return str(COMMIT)


def _libseccomp() -> str:
    """Returns the version in the file name of the shared library; "linked in" without a shared library, or "none"."""
    try:
        from pyoci.seccomp import profile

        _, suffix, version = profile.library().rpartition(".so.")
        return version if suffix else "linked in"
    except ImportError:
        return "none"
