# SPDX-License-Identifier: Apache-2.0
"""Generates Python from what C and Python share: plan.h, and the list of operations in operations.def.

    python3 csrc/protocol.py PACKAGE

Writes PACKAGE/protocol.py, the numbers of plan.h and of the operations, and PACKAGE/plan/records.py, a class for each
operation, with its fields by name and the code that encodes them. A name that does not exist is therefore an error of
mypy, nothing is looked up at run time, and no compiled extension is needed.
"""

from __future__ import annotations

import os
import re
import sys

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))

# The types of fields: the Python type, the letter for struct.pack, and the expression that encodes the attribute.
TYPES = {
    "TEXT": ("str", "Q", "strings[{}]"),
    "LIST": ("Sequence[str]", "Q", "strings.texts({})"),
    "ARGV": ("Sequence[str]", "Q", "strings.texts({})"),
    "BYTES": ("bytes", "Q", "strings.binary({})"),
    "SLOT": ("int", "Q", "{}"),
    "INT32": ("int", "q", "{}"),
    "UINT32": ("int", "Q", "{}"),
    "UINT64": ("int", "Q", "{}"),
    "BOOL": ("bool", "Q", "{}"),
    "ERRNOS": ("int", "Q", "{}"),
}
RESERVED = {"where", "kind", "name", "fields", "record", "describe", "details", "document"}
ENUMS = ("plan_limits", "plan_mount_flag", "sync_message")

NOTICE = """\
# SPDX-License-Identifier: Apache-2.0
# Written by csrc/protocol.py from csrc/plan.h and csrc/operations.def; changes here are lost.
"""
CONSTANTS = '''\
"""The numbers that Python and pyoci-init share (csrc/plan.h, csrc/operations.def)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final
'''
RECORDS = '''\
"""The operations of a launch plan: fields by name, and the bytes that they are in the plan (csrc/operations.def)."""

from __future__ import annotations

from _struct import Struct

from pyoci.plan.operation import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from pyoci.plan.encode import Strings
'''


class Operation:
    """One line of the list: its number's name, its own name, and its fields as (type, name)."""

    def __init__(self, kind: str, name: str, fields: list[tuple[str, str]]) -> None:
        self.kind = kind
        self.name = name
        self.fields = fields


def read(path: str) -> str:
    """Returns the text of a file beside this one."""
    with open(os.path.join(HERE, path), encoding="utf-8") as file:
        return file.read()


def operations(text: str) -> list[Operation]:
    """Returns the list of operations. Raises SystemExit for a line that its head does not describe."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    found = []
    for kind, name, body in re.findall(r"OPERATION\((\w+), (\w+), ((?:[^()]|\([^()]*\))*)\)", text):
        fields = re.findall(r"(\w+)\((\w+)\)", body)
        rest = re.sub(r"\w+\(\w+\)", "", body).strip()
        wrong = [field for field_type, field in fields if field_type not in TYPES or field in RESERVED]
        if wrong or rest or kind != name.upper():
            raise SystemExit(f"operations.def: {kind}: not a type, or a name that is taken: {wrong or rest or name}")
        found.append(Operation(kind, name, fields))
    if text.count("OPERATION") != len(found):
        raise SystemExit(f"operations.def: {text.count('OPERATION')} operations, of which {len(found)} are understood")
    return found


def header() -> FFI:
    """plan.h, as cffi understands it."""
    ffi = FFI()
    ffi.cdef("".join(line for line in read("plan.h").splitlines(keepends=True) if not line.startswith("#")))
    return ffi


def constants(ffi: FFI, listed: list[Operation]) -> str:
    """Returns the module of numbers."""
    lines = [NOTICE + CONSTANTS]
    for enum in ENUMS:
        numbers = ffi.typeof(f"enum {enum}").relements
        lines += [f"{name}: Final = {value}" for name, value in sorted(numbers.items(), key=lambda item: item[1])]
        lines.append("")
    lines.append("PLAN_NONE: Final = 0")
    lines += [f"PLAN_{one.kind}: Final = {number}" for number, one in enumerate(listed, 1)]
    return "\n".join(lines) + "\n"


def flat(ffi: FFI, struct: str) -> list[str]:
    """Returns the names of a struct's numbers, in their order; all are 32 bits wide."""
    names: list[str] = []
    for name, field in ffi.typeof(struct).fields:
        names += flat(ffi, field.type.cname) if field.type.kind == "struct" else [name]
    assert len(names) * 4 == ffi.sizeof(struct), struct
    return names


def header_function(ffi: FFI) -> str:
    """Returns the function that writes struct plan_header."""
    names = flat(ffi, "struct plan_header")
    signed = {name for name, _ in ffi.typeof("struct plan_fds").fields}
    letters = "".join("i" if name in signed else "I" for name in names)
    parameters = ", ".join(f"{name}: int" for name in names)
    return f'''\
_HEADER = Struct("={letters}").pack


def header(*, {parameters}) -> bytes:
    """struct plan_header."""
    return _HEADER({", ".join(names)})
'''


def record(number: int, one: Operation) -> str:
    """Returns the class of one operation."""
    title = "".join(part.capitalize() for part in one.name.split("_"))
    names = [name for _, name in one.fields]
    parameters = "".join(f", {name}: {TYPES[kind][0]}" for kind, name in one.fields)
    letters = "".join(TYPES[kind][1] for kind, _ in one.fields)
    words = "".join(", " + TYPES[kind][2].format(f"self.{name}") for kind, name in one.fields)
    stored = "".join(f"\n        self.{name} = {name}" for name in names)
    return f'''\
_{one.kind} = Struct("=II{letters}").pack


class {title}(Op):
    """{one.name}: {", ".join(names) or "no arguments"}."""

    __slots__ = ({"".join(f'"{name}", ' for name in names)})
    kind: ClassVar[int] = {number}
    name: ClassVar[str] = "{one.name}"
    fields: ClassVar[tuple[str, ...]] = ({"".join(f'"{name}", ' for name in names)})

    def __init__(self, where: str{parameters}) -> None:
        self.where = where{stored}

    def record(self, strings: Strings) -> bytes:
        """The bytes of struct op_{one.name}."""
        return _{one.kind}({number}, strings[self.where]{words})
'''


def write(path: str, text: str) -> None:
    """Writes a module."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Writes both modules into the package that is named."""
    package = sys.argv[1]
    listed = operations(read("operations.def"))
    ffi = header()
    write(os.path.join(package, "protocol.py"), constants(ffi, listed))
    parts = [NOTICE + RECORDS, header_function(ffi)]
    parts += [record(number, one) for number, one in enumerate(listed, 1)]
    write(os.path.join(package, "plan", "records.py"), "\n\n".join(parts))


if __name__ == "__main__":
    main()
