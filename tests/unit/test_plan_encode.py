# SPDX-License-Identifier: Apache-2.0
"""The bytes of a plan: every argument is found where its offset says (csrc/plan.h, csrc/operations.def)."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from pyoci._native import lib

from pyoci import protocol
from pyoci.plan import ops, records
from pyoci.plan.encode import Strings, encode

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = [one for one in vars(ops).values() if isinstance(one, type) and issubclass(one, ops.Op) and one is not ops.Op]


def text(area: bytes, offset: int) -> str:
    """The text at an offset."""
    return area[offset : area.index(b"\0", offset)].decode("utf-8", "surrogateescape")


def texts(area: bytes, offset: int) -> list[str]:
    """The list at an offset: its length, then the texts."""
    count, *rest = area[offset:].split(b"\0")
    return [item.decode("utf-8", "surrogateescape") for item in rest[: int(count)]]


def test_fields() -> None:
    strings = Strings()
    first = ops.Mount("/mounts/0", "tmpfs", "/dätä", ["size=1k", "", "mode=755"], 1, 2, 3, 1 << 63, 5)
    kind, where, fs_type, path, options, *rest = struct.unpack("=II8Q", first.record(strings))
    again = struct.unpack("=IIQQ", ops.Symlink("/mounts/0", "", "\udcff", 0).record(strings)[:24])
    area = strings.bytes()
    assert (kind, rest) == (protocol.PLAN_MOUNT, [1, 2, 3, 1 << 63, 5])
    assert [text(area, offset) for offset in (where, fs_type, path)] == ["/mounts/0", "tmpfs", "/dätä"]
    assert texts(area, options) == ["size=1k", "", "mode=755"]
    assert again[1] == where  # a text is there once
    assert (again[2], text(area, again[3])) == (0, "\udcff")
    assert (area[0], area[-1]) == (0, 0)


def test_bytes_are_aligned() -> None:
    strings = Strings()
    program = bytes(range(16))
    for where in ("/a", "/bb"):
        offset = struct.unpack("=IIQQ", ops.Seccomp(where, program, 0).record(strings))[2]
        assert offset % 8 == 0
        assert strings.bytes()[offset : offset + 24] == struct.pack("=Q", 16) + program


def test_whole() -> None:
    limit = ops.Setrlimit("/b", 7, (1 << 64) - 1, 0, "RLIMIT_NOFILE", upwards=False)
    operations = [ops.Setsid("/a", terminal=True), limit, ops.Execve("")]
    plan = encode(operations, sync=4, start=-1, preserve=1)
    magic, operations_size, strings_size, directories, files, sync, start, preserve = struct.unpack_from("=5I3i", plan)
    assert (magic, sync, start, preserve) == (protocol.PLAN_MAGIC, 4, -1, 1)
    assert (operations_size, len(plan)) == (16 + 48 + 8, 32 + operations_size + strings_size)
    assert (directories, files) == (0o755, 0o644)
    assert struct.unpack_from("=I", plan, 32 + 16 + 48) == (protocol.PLAN_EXECVE,)


@pytest.mark.parametrize("op", [ops.Mkdir("", "/a\0b"), ops.Program("", ["a", "b\0"])])
def test_nul(op: ops.Op) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode([op], 4, 5, 0)


def test_every_operation_has_its_class() -> None:
    listed = {value for name, value in vars(records).items() if isinstance(value, type) and hasattr(value, "fields")}
    listed -= {ops.Op}
    assert {one.__bases__[0] for one in CLASSES} == listed
    kinds = {name: value for name, value in vars(protocol).items() if name.startswith("PLAN_")}
    for one in CLASSES:
        assert kinds[f"PLAN_{one.name.upper()}"] == one.kind
        assert one.__doc__ != one.__bases__[0].__doc__


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.name)
def test_words(one: type[ops.Op]) -> None:
    """Each operation can be told to people, in a line and as JSON, with all its fields by name."""
    examples = {"str": "/x", "int": 2, "bool": True, "bytes": bytes(8), "Sequence[str]": ["a", ""]}
    types = one.__init__.__annotations__
    op = one("/where", **{field: examples[types[field]] for field in one.fields})  # type: ignore[call-arg]
    assert op.describe().startswith(one.name) and op.describe().endswith("  # /where")
    assert "\n" not in op.describe()
    document = json.loads(json.dumps(op.document()))
    assert (document.pop("operation"), document.pop("where")) == (one.name, "/where")
    if one not in (ops.Seccomp, ops.Mknod, ops.OpenNode):  # theirs are counted, and taken apart
        assert tuple(document) == one.fields


def test_words_name_what_a_number_means() -> None:
    caps = ops.Capset("", 1 << 0 | 1 << 21, 1 << 63, 0, 0)
    assert caps.document()["effective"] == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    assert caps.document()["permitted"] == ["0x8000000000000000"]
    assert caps.details().startswith("effective CAP_CHOWN CAP_SYS_ADMIN, permitted 0x80")
    assert caps.details().endswith(", inheritable none, ambient none")
    assert ops.Mask("", "/a", 0, ops.errnos(2, 20)).document()["tolerated"] == ["ENOENT", "ENOTDIR"]
    assert ops.Mknod("", "/d", 0o020640, os.makedev(300, 259), 1, 2).details() == "/d c 300:259 640 1:2"
    assert ops.Setns("", 5, 0x20020000, "x", 0).details() == "mount|pid x"


def test_numbers_are_those_of_the_compiler() -> None:
    """What the generator read in plan.h is what C makes of it."""
    names = [name for name in dir(lib) if re.match(r"(PLAN|SYNC)_", name)]
    assert len(names) > 15
    assert {name: getattr(protocol, name) for name in names} == {name: getattr(lib, name) for name in names}


def test_importing_the_plan_takes_no_extension() -> None:
    paths = [str(REPOSITORY / "build/lib"), sysconfig.get_path("purelib")]
    program = f"import sys\nsys.path[1:1] = {paths!r}\nimport pyoci.plan.order, pyoci.plan.encode\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert "pyoci.plan.records" in done.stdout.split()
    assert not {"pyoci._native", "_cffi_backend", "pyoci.native"} & set(done.stdout.split())


MISSPELT = {
    "kind = protocol.PLAN_NO_SUCH": "PLAN_NO_SUCH",
    "message = protocol.SYNC_GONE": "SYNC_GONE",
    "flags = protocol.PLAN_MOUNT_NO_FOLLOW": "PLAN_MOUNT_NO_FOLLOW",
    "op = ops.Mknodd()": "Mknodd",
    'op = ops.Mknod("", "/a", mode=1, device=2, uid=0, gidd=0)': "gidd",
    'op = ops.Mkdir("", 5)': 'expected "str"',
    'mode = ops.Mkdir("", "/a").mode': '"mode"',
}


def test_a_misspelt_name_is_an_error_of_mypy(tmp_path: Path) -> None:
    """As ``make check`` runs it, over the package as it is built."""
    snippet = tmp_path / "snippet.py"
    rest = "from pyoci import protocol\nfrom pyoci.plan import ops\n\n"
    rest += 'right = (protocol.PLAN_MKNOD, ops.Mkdir("", "/a").path)\n'
    snippet.write_text(rest + "".join(f"{line}\n" for line in MISSPELT))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file", REPOSITORY / "pyproject.toml", snippet],
        cwd=REPOSITORY,
        env={"MYPYPATH": "build/lib", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = dict(re.findall(r"snippet\.py:(\d+): error: (.*)", done.stdout))
    assert list(found) == [str(number) for number in range(5, 5 + len(MISSPELT))], done.stdout + done.stderr
    for message, name in zip(found.values(), MISSPELT.values(), strict=True):
        assert name in message
