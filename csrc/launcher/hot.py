# SPDX-License-Identifier: Apache-2.0
"""Marks hot objects, that is, objects that verbs touch. Runs after image.py, in the first of the two runs of the
program that becomes the image (image.c); the second run places these objects side by side.

hot.txt lists the functions that verbs call, and as warm those that they call occasionally. What a function touches
follows from its code: its constants and names, what the names refer to in its module and in the modules and classes
that it uses, and the methods of built-in types with these names.
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
from types import CodeType, FunctionType, ModuleType

import _builder  # type: ignore[import-not-found] # heap.c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# Types whose methods verbs call on values, not on something with a name.
BUILT_IN = (str, bytes, list, dict, tuple, set, frozenset, int, memoryview, object, type, OSError, ValueError)
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
STDLIB = sys.path[0] + "/"
# The C members that point to further blocks of an object and that Python does not show.
MEMBERS: dict[type, tuple[str, ...]] = {
    dict: ("ma_keys",),
    list: ("ob_item",),
    type: ("ht_cached_keys",),
    CodeType: ("co_localsplusnames", "co_localspluskinds", "co_linetable", "co_exceptiontable"),
}


def listed(path: str, kind: str) -> set[tuple[str, str]]:
    """File and function of the lines of hot.txt (``file TAB function TAB kind``) that are of a kind, hot or warm."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return {(row[0], row[1]) for row in rows if row[2] == kind}


def codes(code: CodeType) -> Iterator[CodeType]:
    """Returns a function's code, and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


class Hot:
    """The hot objects. They are kept alive as long as their addresses are used."""

    def __init__(self) -> None:
        self.found: dict[int, Any] = {}

    def add(self, value: Any) -> None:
        """Adds an object and what is touched with it."""
        if id(value) in self.found:
            return
        self.found[id(value)] = value
        if isinstance(value, (tuple, list, frozenset)):
            self.add_all(value)
        elif isinstance(value, dict) and not value.keys() & {"__name__", "__module__"}:  # a table
            self.add_all(value)
            self.add_all(value.values())
        elif isinstance(value, FunctionType):
            self.add_all((value.__defaults__, value.__kwdefaults__, value.__closure__, value.__globals__))
            self.add_all(cell.cell_contents for cell in value.__closure__ or ())
        elif isinstance(value, type):
            self.add_all((value.__mro__, value.__bases__))
            self.add(gc.get_referents(vars(value))[0])  # the dict behind the proxy

    def add_all(self, values: Iterable[Any]) -> None:
        """Adds several objects."""
        for value in values:
            self.add(value)

    def add_code(self, code: CodeType, names: dict[str, Any]) -> None:
        """Adds a code object and what its names refer to. names: the globals of its module."""
        self.add_all((code, code.co_consts, code.co_names, code.co_varnames, code.co_name, code.co_qualname))
        for name in code.co_names:
            if name in sys.modules:  # imported in the function
                self.add_module(sys.modules[name], code.co_names)
            value = names.get(name, vars(builtins).get(name))
            self.add(value)
            if isinstance(value, ModuleType):
                self.add_module(value, code.co_names)
            elif isinstance(value, type):
                self.add_all(vars(value)[inner] for inner in code.co_names if inner in vars(value))

    def add_module(self, module: ModuleType, names: Iterable[str]) -> None:
        """A module, and what these names mean in it."""
        self.add_all((module, vars(module), module.__spec__, getattr(module.__spec__, "__dict__", None)))
        self.add_all(vars(module)[name] for name in names if name in vars(module))

    def add_methods(self, names: set[str]) -> None:
        """The attributes of these names, of the built-in types and of all classes that were found."""
        for kind in [*BUILT_IN, *(value for value in self.found.values() if isinstance(value, type))]:
            for base in kind.__mro__:
                self.add(base)
                self.add_all(vars(base)[name] for name in names if name in vars(base))

    def mark(self, zone: int) -> None:
        """Tells the builder the zone of all of them."""
        for value in self.found.values():
            mark(zone, value)


def mark(zone: int, value: Any) -> None:
    """Tells the builder the zone of an object."""
    heap_type = not isinstance(value, type) or value.__flags__ & HEAP_TYPE
    _builder.mark(zone, id(value), *(MEMBERS.get(type(value), ()) if heap_type else ()))


def find(wanted: set[tuple[str, str]]) -> Hot:
    """Returns all that these functions touch."""
    hot = Hot()
    attributes: set[str] = set()
    for function in [value for value in gc.get_objects() if isinstance(value, FunctionType)]:
        for code in codes(function.__code__):
            if (code.co_filename.removeprefix(STDLIB), code.co_qualname) in wanted:
                hot.add(function)
                hot.add_code(code, function.__globals__)
                attributes.update(code.co_names)
    hot.add_methods(attributes)
    return hot


def main() -> None:
    """What is marked later wins."""
    path = os.path.join(os.path.dirname(sys.argv[5]), "hot.txt")
    gc.unfreeze()
    hot, warm = find(listed(path, "hot")), find(listed(path, "warm"))
    for table in [value for value in hot.found.values() if isinstance(value, dict)]:
        for pair in table.items():  # what a lookup comes across
            mark(_builder.WARM, pair[0])
            mark(_builder.WARM, pair[1])
    warm.mark(_builder.WARM)
    hot.mark(_builder.HOT)


sys.stderr = os.fdopen(2, "w", closefd=False)  # image.py took it away
main()
