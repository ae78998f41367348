# SPDX-License-Identifier: Apache-2.0
"""Builds what is not Python: two cffi extensions, three C programs, and the modules that are generated.

``pip install .`` and ``make`` both come here. The programs are

    pyoci-init   static, run inside the container's namespaces (pyoci/libexec)
    pause        assembly, the sandbox's only process (pyoci/libexec)
    pyoci        the launcher: an image of a started CPython; else a program that embeds CPython; else a script
    pyoci-python beside an image: the program that embeds CPython, for what is not in the image

Environment: CC (gcc), MUSL_CC (musl-gcc if it is there, else CC), PYOCI_LAUNCHER=embed or script to have the second or
the third, PYOCI_COMMIT for --version (default: what git says), PYOCI_CFFI_SOURCE (see csrc/launcher/make_image.py).
"""

from __future__ import annotations

import glob
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

CC = shlex.split(os.environ.get("CC", "gcc"))
STANDARD = ["-std=gnu11", "-D_GNU_SOURCE"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
EXTENSIONS = ["csrc/native/build.py", "csrc/native/seccomp_build.py"]
SCHEMA_COMPILERS = ["schema/generate.py", "schema/typeddicts.py"]
PROTOCOL = ["csrc/plan.h", "csrc/operations.def"]
PROTOCOL_COMPILER = "csrc/protocol.py"
GENERATED = ["_commit.py", "config/checks.py", "protocol.py", "plan/records.py"]


def is_stale(output: str, inputs: list[str]) -> bool:
    """Returns whether a file is absent or older than one of those that it is made from.

    This file is always one of them.
    """
    if not os.path.exists(output):
        return True
    made = os.stat(output).st_mtime_ns
    return any(os.stat(path).st_mtime_ns > made for path in [*inputs, "setup.py"])


def run(command: list[str]) -> None:
    """Executes a command. If it fails, raises SystemExit with the command, which ends the build."""
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        raise SystemExit(f"setup.py: status {status} from: {shlex.join(command)}")


def sources(directory: str, *patterns: str) -> list[str]:
    """Returns the matching files of a directory of the source tree, in a stable order."""
    return sorted(path for one in patterns for path in glob.glob(os.path.join(directory, one), recursive=True))


def commit_of_tree() -> str:
    """Returns the commit that is checked out here, or "" if this is not a clone or git is missing."""
    if not os.path.exists(".git"):  # git would search further up, and might find another project
        return ""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


class BuildPackage(build_py):
    """Copies the package, and adds what is generated from schema/ and csrc/."""

    def run(self) -> None:
        """Fills build_lib/pyoci."""
        self.remove_vanished()
        super().run()
        self.compile_schemas()
        self.compile_protocol()
        self.write_commit()

    def remove_vanished(self) -> None:
        """Removes modules whose source is gone, so that an incremental build equals a fresh one."""
        package = os.path.join(self.build_lib, "pyoci")
        generated = [os.path.join(package, name) for name in GENERATED]
        for directory, _, names in os.walk(package):
            source = os.path.join("pyoci", os.path.relpath(directory, package))
            for name in names:
                path = os.path.join(directory, name)
                if name.endswith(".py") and path not in generated and not os.path.exists(os.path.join(source, name)):
                    os.unlink(path)

    def compile_schemas(self) -> None:
        """Writes checks.py and documents.pyi of pyoci/config from the JSON Schemas, which are package data."""
        schemas = sources("schema", "*.json")
        config = os.path.join(self.build_lib, "pyoci", "config")
        inputs = [*schemas, *SCHEMA_COMPILERS]
        if any(is_stale(os.path.join(config, name), inputs) for name in ("checks.py", "documents.pyi")):
            run([sys.executable, SCHEMA_COMPILERS[0], config])
        data = os.path.join(self.build_lib, "pyoci", "schema")
        os.makedirs(data, exist_ok=True)
        for path in schemas:
            self.copy_file(path, os.path.join(data, os.path.basename(path)))

    def compile_protocol(self) -> None:
        """Writes pyoci/protocol.py and pyoci/plan/records.py from what Python and C share."""
        package = os.path.join(self.build_lib, "pyoci")
        outputs = [os.path.join(package, "protocol.py"), os.path.join(package, "plan", "records.py")]
        if any(is_stale(output, [*PROTOCOL, PROTOCOL_COMPILER]) for output in outputs):
            run([sys.executable, PROTOCOL_COMPILER, package])

    def write_commit(self) -> None:
        """Writes pyoci/_commit.py, for --version, if the commit is known."""
        commit = os.environ.get("PYOCI_COMMIT") or commit_of_tree()
        path = os.path.join(self.build_lib, "pyoci", "_commit.py")
        if commit:
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"COMMIT = {commit!r}\n")
        elif os.path.exists(path):
            os.unlink(path)


class BuildPrograms(Command):
    """Compiles pyoci-init, pause and the launcher."""

    description = "compile the C programs"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("build-lib=", None, "where the package is built"),
        ("build-temp=", None, "where the launcher is built"),
    ]

    def initialize_options(self) -> None:
        """Options come from ``build``."""
        self.build_lib = ""
        self.build_temp = ""

    def finalize_options(self) -> None:
        """Takes both directories from ``build``."""
        parent = self.get_finalized_command("build")
        self.build_lib = self.build_lib or parent.build_lib
        self.build_temp = self.build_temp or parent.build_temp

    def run(self) -> None:
        """Compiles what is out of date."""
        libexec = os.path.join(self.build_lib, "pyoci", "libexec")
        os.makedirs(libexec, exist_ok=True)
        os.makedirs(self.build_temp, exist_ok=True)
        build_pause(os.path.join(libexec, "pause"))
        build_init(os.path.join(libexec, "pyoci-init"))
        programs = build_launchers(self.build_lib, self.build_temp)
        self.distribution.data_files = [("bin", programs)]


def build_init(output: str) -> None:
    """pyoci-init, static. musl makes it some tens of KB, which are sealed for each container; glibc 20 times that."""
    inputs = sources("csrc/init", "*.c", "*.h")
    if not is_stale(output, [*inputs, *PROTOCOL]):
        return
    compiler = shlex.split(os.environ.get("MUSL_CC", "")) or ([tool] if (tool := shutil.which("musl-gcc")) else CC)
    headers: list[str] = []
    if "musl" in os.path.basename(compiler[0]):
        # musl brings no kernel headers; those of the distribution are searched after its own.
        multiarch = sysconfig.get_config_var("MULTIARCH") or ""
        headers = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{multiarch}"]
    options = [*STANDARD, *WARNINGS, "-static", "-Os", "-s", "-ffunction-sections", "-fdata-sections"]
    link = ["-Wl,--gc-sections", "-Wl,-z,noexecstack"]
    run([*compiler, *options, *headers, "-Icsrc", *sources("csrc/init", "*.c"), *link, "-o", output])


def build_pause(output: str) -> None:
    """The sandbox program, in assembly, laid out by its own linker script."""
    source = f"csrc/pause/pause_{platform.machine()}.S"
    if not os.path.exists(source):
        raise SystemExit(f"setup.py: pause is not written for {platform.machine()} ({source} is missing)")
    if is_stale(output, [source, *sources("csrc/pause", "*.h", "*.ld")]):
        run([*CC, *PAUSE_OPTIONS, source, "-o", output])


PAUSE_OPTIONS = ["-nostdlib", "-static", "-s", "-Wl,--build-id=none", "-Wl,-T,csrc/pause/pause.ld"]


def build_launchers(package: str, work: str) -> list[str]:
    """Builds the command in the directory ``work``, which has the C code of cffi. Returns the programs to install.

    package: where the package was built, all of it.
    """
    choice = os.environ.get("PYOCI_LAUNCHER", "")
    if choice not in ("", "embed", "script"):
        raise SystemExit(f"setup.py: PYOCI_LAUNCHER={choice}: may only be embed, script, or empty")
    launcher, python = os.path.join(work, "pyoci"), os.path.join(work, "pyoci-python")
    inputs = [*sources("csrc/launcher", "launcher.c", "place.h"), sysconfig.get_config_h_filename()]
    if choice == "script" or (is_stale(python, inputs) and not embed_python(python)):
        write_script(launcher)
        return [launcher]
    if not choice and build_image(launcher, package, work):
        return [launcher, python]
    shutil.copy2(python, launcher)
    return [launcher]


def build_image(output: str, package: str, work: str) -> bool:
    """Builds the launcher as an image, if anything in it is newer. False, with a message, if it cannot be."""
    inputs = sources("csrc", "launcher/*", "native/*", "plan.h") + sources(package, "pyoci/**/*.py")
    made = os.path.join(work, "pyoci-image")
    if is_stale(made, inputs):
        command = [sys.executable, "csrc/launcher/make_image.py", made, package, work, shlex.join(launcher_defines())]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            return False
    shutil.copy2(made, output)
    return True


def launcher_defines() -> list[str]:
    """Returns the definitions of the places that both forms of the launcher need."""
    defines = {
        "PYOCI_STDLIB": sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}),
        "PYOCI_DYNLOAD": sysconfig.get_config_var("DESTSHARED"),
        "PYOCI_PREFIX": sys.base_prefix,
    }
    rows = (f'{{"{package}", "{dependencies}"}}' for package, dependencies in layouts())
    return [*(f'-D{name}="{value}"' for name, value in defines.items()), f"-DPYOCI_LAYOUTS={','.join(rows)}"]


def layouts() -> list[tuple[str, str]]:
    """Returns where the package may be, relative to the launcher, and where its dependencies are then.

    The first place that has the package counts.
    """
    python = f"python{sysconfig.get_python_version()}"
    return [
        ("lib", f"venv/lib/{python}/site-packages"),  # the build tree
        ("../lib/pyoci", ""),  # make install
        (f"../lib/{python}/site-packages", ""),  # pip, in a virtual environment or for one user
        (f"../lib64/{python}/site-packages", f"../lib/{python}/site-packages"),  # pip, Fedora
        (f"../lib/{python}/dist-packages", "../../lib/python3/dist-packages"),  # pip, Debian, in /usr/local
    ]


def embed_python(output: str) -> bool:
    """Compiles the launcher against libpython, static where there is one. False, with a message, if it cannot be."""
    variable = sysconfig.get_config_vars()
    version = f"python{variable['LDVERSION']}"
    archive = os.path.join(variable["LIBPL"] or "", f"lib{version}.a")
    options = [*STANDARD, *WARNINGS, "-O2", f"-isystem{variable['INCLUDEPY']}", *launcher_defines()]
    libraries = shlex.split(f"{variable['LIBS']} {variable['SYSLIBS']}")
    if os.path.exists(archive):
        # All of it, and not position-independent: extension modules look its symbols up, and no relocation is left.
        whole = ["-no-pie", "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", *builtin_libraries()]
        attempts = [[*whole, "-Wl,--export-dynamic", *libraries]]
    else:
        attempts = []
    directory = variable["LIBDIR"]
    attempts.append([f"-L{directory}", f"-Wl,-rpath,{directory}", f"-l{version}", *libraries])
    failures: list[str] = []
    for link in attempts:
        command = [*CC, *options, "csrc/launcher/launcher.c", *link, "-Wl,-O1,-z,now", "-s", "-o", output]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            # Debian 13's archive needs a library that Debian leaves out: no reason for alarm, as the shared one serves.
            for failure in failures:
                reason = failure.partition("\n")[0]
                print(f"setup.py: the shared libpython is taken, as {archive} cannot be linked: {reason}")
            return True
        failures.append(f"{done.stderr}setup.py: status {done.returncode} from: {shlex.join(command)}")
    print(*failures, sep="\n")
    print("setup.py: CPython cannot be embedded: a script takes the launcher's place")
    return False


def builtin_libraries() -> list[str]:
    """Returns the libraries that the extension modules in libpython need (zlib, expat), as archives if installed."""
    names = dict.fromkeys(shlex.split(sysconfig.get_config_var("MODLIBS") or ""))
    search = os.path.join("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "")
    archives = {
        name: os.path.join(search, f"lib{name[2:]}.a") for name in names if name not in ("-lm", "-ldl", "-lpthread")
    }
    return [archives[name] if os.path.exists(archives.get(name, "")) else name for name in names]


SCRIPT = """\
#!{interpreter} -IBSXutf8
# SPDX-License-Identifier: Apache-2.0
# The pyoci command where CPython is not embedded in a program: isolated, without site, UTF-8 in any locale.
import os
import sys

here = os.path.dirname(os.path.realpath(__file__))
for package, dependencies in {layouts}:
    if os.path.exists(f"{{here}}/{{package}}/pyoci/__init__.py"):
        sys.path[1:1] = [f"{{here}}/{{part}}" for part in (package, dependencies) if part]
        break
else:
    sys.exit(f"pyoci: {{here}}: no pyoci package beside this program; run make, or install it again")
sys.pyoci_launcher = "script, CPython " + sys.version.split()[0]

from pyoci.cli.main import main

sys.exit(main(sys.argv[1:]))
"""


def write_script(output: str) -> None:
    """Writes the launcher as a script for the interpreter under this build, never one of a virtual environment."""
    interpreter = os.path.realpath(sys.executable)
    text = SCRIPT.format(interpreter=interpreter, layouts=layouts())
    if len(text.splitlines()[0]) > 255:
        raise SystemExit(f"setup.py: {interpreter}: the path is too long for a #! line")
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(output, 0o755)


class Build(build):
    """``build`` with the programs after the extensions."""

    sub_commands = [*build.sub_commands, ("build_programs", None)]


if __name__ == "__main__":
    setup(
        cffi_modules=[f"{path}:ffibuilder" for path in EXTENSIONS],
        cmdclass={"build": Build, "build_py": BuildPackage, "build_programs": BuildPrograms},
    )
