# SPDX-License-Identifier: Apache-2.0
"""The counter of `make bench-instructions` on programs of known length; and what it wrote last. No root."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from bench import instructions
from bench.tools import COUNTER, REPOSITORY

WHOLE = ".globl _start\n.text\n_start:\n"
EXIT = "mov $60, %eax; syscall\n"  # 2
WAIT = "mov $61, %eax; mov $-1, %rdi; lea status(%rip), %rsi; xor %edx, %edx; xor %r10d, %r10d; syscall\n"  # 6
STATUS = ".bss\nstatus: .skip 8\n"
LOOP = "mov $1000, %ecx\n1: dec %ecx; jnz 1b\n"  # 1 + 2 * 1000
SELF = "mov $39, %eax; syscall; mov %eax, %edi\n"  # 3: rdi = getpid()

# A child that must neither be counted nor end by a trap: it turns a loop, and its status becomes the parent's.
CHILD = (
    "mov $56, %eax; mov ${flags}, %edi; xor %esi, %esi; xor %edx, %edx\n"  # 4
    "xor %r10d, %r10d; xor %r8d, %r8d; syscall\n"  # 3
    "test %eax, %eax; jnz 2f\n"  # 2
    + LOOP
    + "mov $7, %edi\n"
    + EXIT
    + "2: "
    + WAIT
    + "movzbl status+1(%rip), %edi\n"  # 1
    + EXIT
    + STATUS
)
# With an argument it ends; without one it executes itself anew with one.
AGAIN = (
    "cmpq $1, (%rsp); jne 2f\n"  # 2
    "lea path(%rip), %rdi; lea argv(%rip), %rsi; xor %edx, %edx; mov $59, %eax; syscall\n"  # 5
    "2: mov $3, %edi\n" + EXIT + '.data\npath: .asciz "/proc/self/exe"\n.balign 8\nargv: .quad path, path, 0\n'  # 1
)
# rt_sigaction(SIGUSR1), kill(self); the handler changes the status.
HANDLED = (
    "mov $13, %eax; mov $10, %edi; lea action(%rip), %rsi; xor %edx, %edx; mov $8, %r10d; syscall\n"  # 6
    + SELF
    + "xor %ebx, %ebx; mov $10, %esi; mov $62, %eax; syscall\n"  # 4
    "mov status(%rip), %edi\n"  # 1
     + EXIT + "handler: movl $9, status(%rip); ret\nrestorer: mov $15, %eax; syscall\n"  # 2 + 2
    ".data\n.balign 8\naction: .quad handler, 0x04000000, restorer, 0\n" + STATUS
)
KNOWN = {
    "loop": (LOOP + "xor %edi, %edi\n" + EXIT, 2001 + 1 + 2, 0),
    "a jump to itself": ("mov $100, %ecx\n1: loop 1b\nmov $5, %edi\n" + EXIT, 1 + 100 + 1 + 2, 5),
    "repeated string instructions": (
        "lea buffer(%rip), %rdi; mov %rdi, %rsi; mov $60000, %ecx; xor %eax, %eax; rep stosb\n"  # 5
        "mov $60000, %ecx; mov %rsi, %rdi; repe scasb\n"  # 3
        "mov $5000, %ecx; mov %rsi, %rdi; rep movsq\n"  # 3
        "mov $1, %ecx; rep lodsb; xor %edi, %edi\n" + EXIT + ".bss\nbuffer: .skip 131072\n",  # 3
        5 + 3 + 3 + 3 + 2,
        0,
    ),
    "fork": (CHILD.format(flags=17), 9 + 6 + 1 + 2, 7),  # SIGCHLD
    "vfork": (CHILD.format(flags=0x4111), 9 + 6 + 1 + 2, 7),  # CLONE_VM | CLONE_VFORK | SIGCHLD
    "exec of itself": (AGAIN, 2 + 5 + 2 + 1 + 2, 3),
    "handled signal": (HANDLED, 6 + 3 + 4 + 2 + 2 + 1 + 2, 9),
    "its own trap": (SELF + "mov $5, %esi; mov $62, %eax; syscall\n" + EXIT, 3 + 3, 128 + 5),
    "breakpoint": ("nop; int3\n" + EXIT, 1, 128 + 5),
}


@pytest.fixture(scope="module", name="counter")
def counter_fixture() -> str:
    if platform.machine() != "x86_64":
        pytest.skip("the programs with known counts are in x86-64 assembly")
    subprocess.run(["make", "-s", "-C", str(REPOSITORY), "build/bench/instructions"], check=True, timeout=60)
    return COUNTER


def program(directory: Path, source: str) -> Path:
    made = directory / "program"
    argv = ["gcc", "-nostdlib", "-static", "-x", "assembler", "-", "-o", str(made)]
    subprocess.run(argv, input=WHOLE + source, text=True, check=True, timeout=60)
    return made


def counted(counter: str, directory: Path, *command: str | Path, limit: int = 30) -> tuple[int, int, str]:
    """The exit status, the count (-1: none was written), and what was said."""
    file = directory / "count"
    argv = [counter, str(limit), str(file), *map(str, command)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit + 30)
    return done.returncode, int(file.read_text()) if file.exists() else -1, done.stderr


@pytest.mark.parametrize("name", KNOWN)
def test_count_is_exact(counter: str, tmp_path: Path, name: str) -> None:
    source, expected, status = KNOWN[name]
    assert counted(counter, tmp_path, program(tmp_path, source)) == (status, expected, "")


def test_what_does_not_end_is_ended(counter: str, tmp_path: Path) -> None:
    endless = program(tmp_path, "1: jmp 1b\n")
    status, count, said = counted(counter, tmp_path, endless, limit=1)
    assert (status, count) == (124, -1)
    assert said == f"instructions: {endless}: not done after 1 seconds\n"
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(endless).encode() in read(path)]
    assert running == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_missing_command_is_named(counter: str, tmp_path: Path) -> None:
    status, _, said = counted(counter, tmp_path, tmp_path / "none")
    assert (status, said) == (127, f"instructions: {tmp_path}/none: No such file or directory\n")


def test_every_verb_was_counted() -> None:
    document = instructions.read()
    assert list(document["verbs"]) == list(instructions.VERBS)
    for verb, found in document["verbs"].items():
        assert set(found) == {tool for tool in instructions.TOOLS if instructions.counts(tool, verb)}, verb
        assert all(isinstance(count, int) and count > 100_000 for count in found.values()), verb
    assert document["note"] == " ".join(instructions.NOTE)
    assert all(document[tool] for tool in instructions.TOOLS)
