# SPDX-License-Identifier: Apache-2.0
"""The C core under AddressSanitizer and UndefinedBehaviorSanitizer (tests/c), and init with plans that are damaged."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from pyoci import native
from pyoci.plan import encode, ops

REPOSITORY = Path(__file__).resolve().parents[2]
SANITIZED = REPOSITORY / "build/sanitize"
PROGRAMS = sorted(path.stem for path in (REPOSITORY / "tests/c").glob("*.c"))
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1"}

# An outer make hands its own flags and job pipes down; this one is on its own.
OWN_MAKE = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


@pytest.fixture(scope="session")
def built() -> Path:
    """The directory of the programs, which make builds anew where their sources have changed."""
    targets = [f"build/sanitize/{name}" for name in (*PROGRAMS, "pyoci-init")]
    made = subprocess.run(
        ["make", "-s", *targets], cwd=REPOSITORY, env=OWN_MAKE, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    return SANITIZED


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(built: Path, program: str) -> None:
    done = subprocess.run([built / program], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_fault_is_found(built: Path, tmp_path: Path) -> None:
    """That the flags of the build do find what they are for."""
    source = tmp_path / "fault.c"
    source.write_text(
        '#include "../../csrc/init/plan.c"\n'
        "int main(void) { char *list = malloc(2); list[0] = '3'; list[1] = 0; return list_array(list, 0) == NULL; }\n"
    )
    dry = subprocess.run(
        ["make", "-n", "-B", "build/sanitize/plan"],
        cwd=REPOSITORY,
        env=OWN_MAKE,
        capture_output=True,
        text=True,
        check=True,
    )
    command = dry.stdout[dry.stdout.index("gcc") :].replace("tests/c/plan.c", str(source))
    text = source.read_text().replace("../../csrc", str(REPOSITORY / "csrc"))
    source.write_text(text)
    subprocess.run(
        ["sh", "-c", command.replace("-o build/sanitize/plan", f"-o {tmp_path}/fault")], cwd=REPOSITORY, check=True
    )
    done = subprocess.run([tmp_path / "fault"], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def plan(sync: int) -> bytes:
    """A plan with an operation of each kind that has lists or numbers to go wrong."""
    operations: list[ops.Op] = [
        ops.Setsid("", terminal=False),
        ops.OpenTree("", "/etc", 0, recursive=True, inside=False),
        ops.Mount("/mounts/0", "proc", "/proc", ["source=proc", "hidepid=2"], 0, 0, 0, 0, 0),
        ops.Hook("/hooks/createContainer/0", "/bin/true", ["true"], ["A=b"], False, 0, filtered=False),
        ops.Environment("/process/env", ["PATH=/bin", "TERM=xterm"]),
        ops.Program("/process/args", ["sh", "-c", "true"]),
        ops.User("/process/user", 0, 0, ["1", "2"], 0o22, keep_groups=False),
        ops.Seccomp("/linux/seccomp", bytes(16), 0),
        ops.Execve("/process/args"),
    ]
    descriptor = native.plan_memfd(encode.encode(operations, sync, -1, 0))
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def status(init: Path, data: bytes, remote: socket.socket) -> int:
    """How init ends with these bytes for a plan, and a runtime that has gone: nothing of it is done."""
    descriptor = os.memfd_create("plan")
    try:
        os.write(descriptor, data)
        return subprocess.run([init, str(descriptor)], pass_fds=[descriptor, remote.fileno()], timeout=10).returncode
    finally:
        os.close(descriptor)


def test_init_refuses_what_is_no_plan(built: Path) -> None:
    """2: no plan; 1: a plan, and a runtime that has gone. Never a signal."""
    local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    local.close()
    init = built / "pyoci-init"
    with remote:
        whole = plan(remote.fileno())
        assert status(init, whole, remote) == 1
        for size in range(0, len(whole), 11):
            assert status(init, whole[:size], remote) == 2, size
        chance = random.Random(1)
        seen = set()
        for _ in range(300):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            seen.add(status(init, bytes(damaged), remote))
        assert seen == {1, 2}


@pytest.mark.parametrize("arguments", [[], ["0"], ["x"], ["99"], ["-1"], ["3", "4"]])
def test_init_by_hand(built: Path, arguments: list[str]) -> None:
    """Somebody calls it from a shell."""
    done = subprocess.run([built / "pyoci-init", *arguments], capture_output=True, timeout=10)
    assert done.returncode == 2
