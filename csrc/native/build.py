# SPDX-License-Identifier: Apache-2.0
"""Describes the extension ``pyoci._native`` to cffi (API mode).

cffi reads csrc/plan.h and csrc/native/native.h without their ``#`` lines, so that Python has the same names, numbers
and layouts as the C programs. setup.py reads ``ffibuilder`` from here.
"""

from __future__ import annotations

import glob
import os

from cffi import FFI

# cffi runs this file with the name it was given, from the top of the source tree.
HERE = os.path.relpath(os.path.dirname(os.path.abspath(__file__)))
HEADERS = [os.path.join(HERE, os.pardir, "plan.h"), os.path.join(HERE, "native.h")]


def declarations(path: str) -> str:
    """Returns the text of a header without its ``#`` lines; the rest must be enums, structs and prototypes."""
    with open(path, encoding="utf-8") as header:
        return "".join(line for line in header if not line.startswith("#"))


ffibuilder = FFI()
for header in HEADERS:
    ffibuilder.cdef(declarations(header))
ffibuilder.set_source(
    "pyoci._native",
    '#include "plan.h"\n#include "native.h"\n',
    sources=[os.path.normpath(path) for path in sorted(glob.glob(os.path.join(HERE, "native*.c")))],
    depends=[os.path.normpath(path) for path in [*HEADERS, *glob.glob(os.path.join(HERE, "*.h"))]],
    include_dirs=[os.path.normpath(os.path.join(HERE, os.pardir)), HERE],
    extra_compile_args=["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-fvisibility=hidden"],
    extra_link_args=["-s"],
)
