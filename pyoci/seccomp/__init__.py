# SPDX-License-Identifier: Apache-2.0
"""Turns a seccomp profile of config.json into the BPF program that the kernel takes (seccomp(2)).

libseccomp compiles the profile. For an engine's default profile this takes longer than the rest of a ``create``.
Compiled programs are therefore cached, and libseccomp is loaded only if a program is not in the cache.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Seccomp

CACHE = "/run/pyoci-cache/seccomp"  # on a tmpfs, so that it does not outlive the kernel

_FLAGS = {  # <linux/seccomp.h>
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    # Concerns the wait for the supervisor of SCMP_ACT_NOTIFY. The kernel refuses it if there is no supervisor.
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0,
}


class Program:
    """A compiled profile. bpf: an array of struct sock_filter; flags: SECCOMP_FILTER_FLAG_* for seccomp(2)."""

    __slots__ = ("bpf", "flags")

    def __init__(self, bpf: bytes, flags: int) -> None:
        self.bpf = bpf
        self.flags = flags


def compile(seccomp: Seccomp, cache: str | None, keep: bool = True) -> Program:
    """Returns the program of ``linux.seccomp`` for this machine.

    cache: a directory such as CACHE, created if it is missing, or None for no cache; keep: whether a newly compiled
    program may be stored there. A cache that cannot be used or trusted is ignored. Raises what profile.compile
    raises.
    """
    flags = _flags(seccomp)
    if cache is None:
        from pyoci.seccomp import profile

        return Program(profile.compile(seccomp), flags)
    from pyoci.seccomp import store

    name = store.name(seccomp)
    bpf = store.load(cache, name)
    if bpf is None:
        from pyoci.seccomp import profile

        bpf = profile.compile(seccomp)
        if keep:
            store.save(cache, name, bpf, profile.library())
    return Program(bpf, flags)


def _flags(seccomp: Seccomp) -> int:
    if "flags" not in seccomp:
        # As in runc and crun, the costly mitigation of speculative store bypass must be asked for.
        return _FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    value = 0
    for flag in seccomp["flags"]:
        value |= _FLAGS[flag]
    return value
