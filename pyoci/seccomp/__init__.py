# SPDX-License-Identifier: Apache-2.0
"""From a seccomp profile of config.json to the BPF program that the kernel takes (seccomp(2)).

libseccomp does the compiling, and takes longer for an engine's default profile than all the rest of a ``create``.
So a program is kept in a cache, and libseccomp is loaded only when it is not found there.
"""

from __future__ import annotations

from pyoci.errors import SeccompError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Seccomp

CACHE = "/run/pyoci-cache/seccomp"  # does not outlive the kernel it was made for

_FLAGS = {  # <linux/seccomp.h>
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    # Is about the wait for the supervisor of SCMP_ACT_NOTIFY; the kernel refuses it where there is none.
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0,
}


class Program:
    """bpf: an array of struct sock_filter; flags: SECCOMP_FILTER_FLAG_* for seccomp(2)."""

    __slots__ = ("bpf", "flags")

    def __init__(self, bpf: bytes, flags: int) -> None:
        self.bpf = bpf
        self.flags = flags


def compile(seccomp: Seccomp, cache: str | None, keep: bool = True) -> Program:
    """The program of ``linux.seccomp`` for this machine.

    cache: a directory such as CACHE, made if it is missing; None to go without; keep: what is compiled now may be put
    into it. A cache that cannot be used or trusted is done without. Raises SeccompError, and
    UnsupportedError for SCMP_ACT_NOTIFY.
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
        # As runc and crun: the costly mitigation of speculative store bypass is for those who ask for it.
        return _FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    value = 0
    for index, flag in enumerate(seccomp["flags"]):
        if flag not in _FLAGS:
            raise SeccompError(f"/linux/seccomp/flags/{index}: {flag} is not one of {', '.join(_FLAGS)}")
        value |= _FLAGS[flag]
    return value
