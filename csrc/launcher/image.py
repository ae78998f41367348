# SPDX-License-Identifier: Apache-2.0
"""Runs inside the program that becomes the image (image.c), and imports everything that verbs need.

Arguments: the file to write, this file, and the modules (marshalled by make_image.py: name → (code, is a package)).
After this script the process is written to the file. Each run of the image starts with :func:`main`.
"""

from __future__ import annotations

import _imp
import gc
import marshal
import os
import sys

# These are in importlib.machinery, which imports too much.
BuiltinImporter, ModuleSpec = sys.meta_path[0], type(sys.__spec__)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec as Spec
    from types import CodeType, ModuleType
    from typing import Any

# Stands for the directory of the package, which only main() knows.
ANYWHERE = "/pyoci-library"
# Modules of the standard library that verbs import inside functions.
LIBRARY = """_blake2 _socket _struct encodings.ascii encodings.latin_1 encodings.unicode_escape encodings.utf_8 fcntl
    json math pwd re select struct termios time"""
PRACTICE = 40  # times: the interpreter specialises code after 8 calls, and revises that a few times
# The image does not contain what these need, so pyoci-python executes the whole command again. Verbs import them before
# they change anything.
ELSEWHERE = ("pyoci.cli.pod", "jsonschema")
# Modules that read their __file__ when their functions run. The others read it at import.
READ_OWN_PLACE = ("pyoci.config.schemas",)


class Packed:
    """Finds the modules of pyoci: those compiled by make_image.py, and the extensions, which are linked in."""

    def __init__(self, modules: dict[str, tuple[CodeType, bool]]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> Spec | None:
        """Returns the importer's protocol (importlib.abc.MetaPathFinder)."""
        if _imp.is_builtin(name):
            return ModuleSpec(name, BuiltinImporter)  # type: ignore[arg-type]
        if name not in self.modules:
            return None
        package = self.modules[name][1]
        file = f"{ANYWHERE}/{name.replace('.', '/')}{'/__init__' if package else ''}.py"
        spec = ModuleSpec(name, self, origin=file, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: Spec) -> None:
        """The importer's protocol (importlib.abc.Loader): an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """The importer's protocol (importlib.abc.Loader)."""
        exec(self.modules[module.__name__][0], module.__dict__)


class Elsewhere:
    """Executes the command again with pyoci-python when a module is imported that only that has. Finds nothing itself.

    pyoci-python needs the Python that pyoci was built with. If it is gone, pod fails with an error that names it, and
    jsonschema counts as not installed: a fault of a document is then reported without further ones.
    """

    def __init__(self) -> None:
        self.interpreter = ""
        self.arguments: list[str] = []
        self.library = ""  # the standard library

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """The importer's protocol (importlib.abc.MetaPathFinder)."""
        if name not in ELSEWHERE or not self.interpreter:
            return
        missing = [path for path in (f"{self.library}/encodings", self.interpreter) if not os.path.exists(path)]
        if not missing:
            os.execv(self.interpreter, [self.interpreter, *self.arguments[1:]])
        if name == "pyoci.cli.pod":
            from pyoci.errors import PyociError

            python = f"Python {sys.version.split()[0]}, with which pyoci was built"
            raise PyociError(f"pod: {missing[0]} is missing; install {python}, or build pyoci again")


elsewhere = Elsewhere()


def load() -> None:
    """Imports everything into this process."""
    with open(sys.argv[3], "rb") as file:
        modules = marshal.load(file)
    sys.meta_path[:0] = [Packed(modules)]
    # The package words the faults that json.c only detects, so it must not use json.c itself.
    sys.modules["_json"] = None  # type: ignore[assignment]
    json = __import__("json")
    del sys.modules["_json"]
    elsewhere.library = os.path.dirname(os.path.dirname(json.__file__ or ""))
    for name in [*LIBRARY.split(), *modules]:
        __import__(name)
    sys.meta_path[:] = [*sys.meta_path[1:], elsewhere]
    for module in ("pyoci._native", "pyoci._seccomp"):
        library = sys.modules[module].lib
        for name in dir(library):
            getattr(library, name)  # cffi creates a function at its first use, and keeps it


def practise() -> None:
    """Runs the pure parts of the verbs repeatedly. The interpreter specialises code that runs often (PEP 659), and the
    image keeps the result."""
    from pyoci import jsontext
    from pyoci.cgroup import devices, hierarchies
    from pyoci.cli import create, flags, settings
    from pyoci.config import check, default
    from pyoci.plan import encode, facts
    from pyoci.plan import order as plans

    host = facts.Facts()
    host.keyring = "_ses.practice"
    host.cgroup_directories = [((name,), f"/sys/fs/cgroup/{name}") for name in ("cpuset", "cpu", "memory", "pids")]
    mounts = ["33 24 0:29 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset"] * 8
    for _ in range(PRACTICE):
        document = jsontext.loads(jsontext.dumps(default.config()).encode())
        document["process"]["terminal"] = False
        config, process = check.config(document), check.process(document["process"])
        for plan in (plans.create_plan(config, host), plans.exec_plan(process, ["mount"], host)):
            encode.encode(plan.operations, sync=4, start=5, preserve=0)
        rules = devices.rules(document["linux"]["resources"]["devices"])
        devices.transition(devices.Exceptions(True), devices.exceptions(rules))
        hierarchies.parse_mounts(mounts)
        flags.parse(settings.TABLE, ["--root", "/", "--log", "/", "create"], "", stop_after=1)
        flags.parse(create.TABLE, ["--bundle", "/", "--pid-file", "/", "practice"], "create")


def settle() -> None:
    """Removes from this process what must not be in the image."""
    for name in ("_signal", "signal", "threading"):
        assert name not in sys.modules, f"{name} keeps what only this process has"
    assert not os.environ, "the build has an environment"
    sys.stdin = sys.stdout = sys.stderr = None
    sys.__stdin__ = sys.__stdout__ = sys.__stderr__ = None  # type: ignore[misc]
    sys.path_importer_cache.clear()
    sys.pyoci_launcher = "image of CPython " + sys.version.split()[0]  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    gc.disable()  # a verb ends before its garbage matters
    sys._clear_type_cache()  # lookups would replace its entries, and so write to names of the build


def paths() -> list[tuple[dict[str, Any], str, str]]:
    """Returns where modules keep a path of the package: their globals, the name, and the path in the package."""
    found = []
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "pyoci"]:
        for name, value in vars(module).items():
            if isinstance(value, str) and value.startswith(ANYWHERE) and (name == "__file__" or name[:2] != "__"):
                found.append((vars(module), name, value.removeprefix(ANYWHERE)))
    wanted = [row for row in found if row[1] != "__file__" or row[0]["__name__"] in READ_OWN_PLACE]
    assert any(row[1] == "LIBEXEC" for row in wanted), "pyoci.native has no LIBEXEC"
    return wanted


load()

from pyoci import _seccomp  # noqa: E402 - they are there now
from pyoci.cli.main import main as run  # noqa: E402

placed = paths()
practise()


def main(program: str, library: str, arguments: Sequence[str]) -> int:
    """Runs one command. Returns the exit status.

    program, library: absolute paths of the image and of the package; arguments: with the program's name.
    """
    sys.executable = program
    sys.argv = elsewhere.arguments = list(arguments)
    elsewhere.interpreter = program + "-python"
    for names, name, tail in placed:
        names[name] = library + tail
    _seccomp.__file__ = program
    return run(sys.argv[1:])


settle()
