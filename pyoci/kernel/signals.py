# SPDX-License-Identifier: Apache-2.0
"""Signal names and numbers, without the ``signal`` module (its import pulls in ``enum``)."""

from __future__ import annotations

# signal(7): the numbers of x86 and ARM, which x86_64 and aarch64 share (Alpha, MIPS and PARISC differ).
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG"
    " XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
NUMBERS = {name: number for number, name in enumerate(_NAMES.split(), 1)}
NUMBERS["IOT"] = NUMBERS["ABRT"]
NUMBERS["CLD"] = NUMBERS["CHLD"]
NUMBERS["POLL"] = NUMBERS["IO"]

SIGKILL = NUMBERS["KILL"]
SIGTERM = NUMBERS["TERM"]
SIGPIPE = NUMBERS["PIPE"]
SIGCHLD = NUMBERS["CHLD"]
SIGSYS = NUMBERS["SYS"]

# The C libraries reserve 32 and 33 (glibc) and also 34 (musl). Shells and people use glibc's SIGRTMIN.
SIGRTMIN = 34
SIGRTMAX = 64


def number(name: str) -> int:
    """Returns the number of a signal: ``TERM``, ``SIGTERM``, ``sigterm``, ``15``, ``RTMIN+3``, ``RTMAX-1``.

    0, which only checks that the process exists, is accepted too. Returns -1 for anything else.
    """
    if name.isascii() and name.isdigit():
        value = int(name) if len(name) < 4 else -1
    else:
        bare = name.upper().removeprefix("SIG")
        value = NUMBERS.get(bare, -1)
        if value < 0 and bare.startswith("RTM"):
            value = _realtime(bare)
    return value if value <= SIGRTMAX else -1


def _realtime(bare: str) -> int:
    """Returns the number of ``RTMIN``, ``RTMIN+n``, ``RTMAX`` or ``RTMAX-n``, or -1 if it is none of these."""
    head, sign, offset = bare[:5], bare[5:6], bare[6:]
    if (head, sign) in (("RTMIN", ""), ("RTMAX", "")):
        offset = "0"
    elif (head, sign) not in (("RTMIN", "+"), ("RTMAX", "-")):
        return -1
    if not (offset.isascii() and offset.isdigit() and len(offset) < 3):
        return -1
    value = SIGRTMIN + int(offset) if head == "RTMIN" else SIGRTMAX - int(offset)
    return value if SIGRTMIN <= value <= SIGRTMAX else -1
