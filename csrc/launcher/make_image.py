# SPDX-License-Identifier: Apache-2.0
"""Builds the launcher as an image (image.c): ``make_image.py OUTPUT LIBRARY WORK DEFINES``.

LIBRARY is the directory of the built package. WORK contains the C code that cffi generated, and takes temporary files.
DEFINES holds options for the C compiler, in one word. Exits with 0 if the image was built and passed its trial
(trial.py), and with 3 and a message if this machine or this Python cannot have one; the caller then builds another
launcher.

_cffi_backend is compiled from the source distribution of the installed version of cffi. pip downloads it, unless
PYOCI_CFFI_SOURCE names a directory that contains it unpacked.
"""

from __future__ import annotations

import glob
import importlib.metadata
import marshal
import os
import shlex
import subprocess
import sys
import sysconfig
import tarfile

import trial

# The releases with which all tests have passed. What image.c relies on differs between releases.
VERSIONS = ((3, 11),)
LEFT_OUT = (
    *("pyoci.pod", "pyoci.cli.pod", "pyoci.cli.pod_output", "pyoci.cli.pod_tables", "pyoci.container.host"),
    "pyoci.__main__",
)
ALLOCATORS = ("malloc", "calloc", "realloc", "free")
EXTENSIONS = ("pyoci._native.c", "pyoci._seccomp.c")
CC = shlex.split(os.environ.get("CC", "gcc"))
HERE = os.path.dirname(os.path.relpath(os.path.abspath(__file__)))


class Unable(Exception):
    """This machine cannot build an image; the message says why."""


def run(command: list[str], **options: object) -> str:
    """Executes a command; returns what it prints. Raises Unable, with its messages, if it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600, **options
    )
    if done.returncode:
        raise Unable(f"{done.stderr}status {done.returncode} from: {shlex.join(command)}")
    return str(done.stdout)


def library(name: str) -> str:
    """Returns the static library lib``name``.a. Raises Unable."""
    path = run([*CC, f"-print-file-name=lib{name}.a"]).strip()
    if not os.path.isabs(path):
        raise Unable(f"lib{name}.a is not installed")
    return path


def libpython() -> str:
    """Returns the static library of this Python. Raises Unable."""
    variable = sysconfig.get_config_vars()
    path = os.path.join(variable["LIBPL"] or "", f"libpython{variable['LDVERSION']}.a")
    if sys.version_info[:2] not in VERSIONS:
        raise Unable(f"Python {sysconfig.get_python_version()} was not tried as an image")
    if not os.path.exists(path):
        raise Unable(f"{path} is not installed")
    return path


def cffi_source(work: str) -> str:
    """Returns the directory that holds _cffi_backend.c of the installed version. Raises Unable."""
    given = os.environ.get("PYOCI_CFFI_SOURCE", "")
    if given:
        return os.path.join(given, "src", "c")
    version = importlib.metadata.version("cffi")
    source = os.path.join(work, f"cffi-{version}", "src", "c")
    if not os.path.exists(os.path.join(source, "_cffi_backend.c")):
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        wanted = ["download", "--no-deps", "--no-binary", "cffi", "--no-build-isolation", "-d", work]
        run([*pip, *wanted, f"cffi=={version}"])
        with tarfile.open(os.path.join(work, f"cffi-{version}.tar.gz")) as archive:
            archive.extractall(work, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(work)
    return source


def keep(source: str, target: str) -> None:
    """Copies an object file or archive. In the copy, its data and its memory become part of the image (image.c)."""
    options = ["--rename-section", ".data=pydata", "--rename-section", ".PyRuntime=pyruntime"]
    for flag in ("--set-section-flags", "--rename-section"):
        options += [flag, f".bss={'pybss,' if flag == '--rename-section' else ''}alloc,load,contents,data"]
    for name in ALLOCATORS:
        options += ["--redefine-sym", f"{name}=kept_{name}"]
    run(["objcopy", *options, source, target])


def compile_parts(work: str, defines: list[str]) -> list[str]:
    """Compiles all C that is linked with libpython; returns the object files."""
    cffi = cffi_source(work)
    options = [f"-I{sysconfig.get_config_var('INCLUDEPY')}", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fno-pie"]
    own = ["-Wall", "-Wextra", "-Werror", *defines]
    names = ("image.c", "heap.c", "json.c", "json_read.c", "json_write.c", "termios.c")
    launcher = [os.path.join(HERE, name) for name in names]
    native = sorted(glob.glob(os.path.join(HERE, os.pardir, "native", "*.c")))
    headers = [f"-I{os.path.join(HERE, os.pardir)}", f"-I{os.path.join(HERE, os.pardir, 'native')}"]
    # As cffi's own setup.py sets them for Linux.
    foreign = ["-w", "-DUSE__THREAD", "-DHAVE_SYNC_SYNCHRONIZE", f"-I{cffi}"]
    jobs = [(path, own) for path in launcher]
    jobs += [(path, headers) for path in native]
    jobs += [(os.path.join(work, name), [*headers, "-w"]) for name in EXTENSIONS]
    jobs.append((os.path.join(cffi, "_cffi_backend.c"), foreign))
    shared = [__file__, *glob.glob(os.path.join(HERE, os.pardir, "*/*.h")), *glob.glob(os.path.join(HERE, "../*.h"))]
    objects: list[str] = []
    for source, more in jobs:
        target = os.path.join(work, "image-" + os.path.basename(source)[:-2] + ".o")
        objects.append(target)
        if is_current(target, [source, *shared]):
            continue
        run([*CC, *options, *more, "-c", source, "-o", target])
        if os.path.basename(source) not in ("image.c", "heap.c"):  # these two use libc's malloc and the heap knowingly
            keep(target, target)
    return objects


def is_current(output: str, inputs: list[str]) -> bool:
    """Returns whether a file is there and newer than all that it is made from."""
    if not os.path.exists(output):
        return False
    return all(os.stat(path).st_mtime_ns < os.stat(output).st_mtime_ns for path in inputs)


def link(work: str, objects: list[str]) -> str:
    """Links the program that can write the image; returns its path."""
    program = os.path.join(work, "image-base")
    if is_current(program, [*objects, libpython()]):
        return program
    python = os.path.join(work, "image-libpython.a")
    keep(libpython(), python)
    names = shlex.split(f"{sysconfig.get_config_var('MODLIBS') or ''} -lffi -lseccomp")
    archives = [library(name[2:]) for name in dict.fromkeys(names) if name not in ("-lm", "-ldl", "-lpthread")]
    layout = ["-static", "-no-pie", "-Wl,-z,noexecstack"]
    order = write_order(os.path.join(work, "image-order"), objects)
    run([*CC, *layout, *objects, python, *archives, "-lm", f"-Wl,-T,{order}", "-o", program])
    shorten_start(program)
    run(["strip", program])
    return program


def write_order(path: str, objects: list[str]) -> str:
    """Writes a linker script that places the code and constants of verbs side by side. Returns its path.

    These are our own objects, the members of libpython and libc in hot_parts.txt, and the parts of libc that select
    functions for the CPU at start.
    """
    with open(os.path.join(HERE, "hot_parts.txt"), encoding="ascii") as file:
        parts = {line.strip() for line in file}
    libc = library("c")
    for archive in (libc, *glob.glob(os.path.join(os.path.dirname(libc), "libm-*.a"))):  # libm.a itself is a script
        rows = [line.split(":") for line in run(["nm", "-A", archive]).splitlines() if " i " in line]
        parts.update(row[-2].removesuffix(".o") for row in rows)
    # *:NAME is a member of an archive, *NAME a file of its own
    files = [f"*{os.path.basename(name)}" for name in objects] + [f"*:{name}.o" for name in sorted(parts)]
    with open(path, "w", encoding="ascii") as script:
        for section, place in ((".text", "BEFORE"), (".rodata", "AFTER")):
            lines = "".join(f"    {file}({section} {section}.*)\n" for file in files)
            script.write(f"SECTIONS\n{{\n  {section}.hot_parts :\n  {{\n{lines}  }}\n}}\nINSERT {place} {section};\n")
    return path


def shorten_start(program: str) -> None:
    """Removes about 70 cpuid instructions, with which glibc asks an Intel CPU about its caches at start.

    Under a hypervisor each of them is a trap: 4 us here, 0.3 ms per verb. The answers only decide how memcpy copies
    more than about 100 KB. The function (handle_intel in sysdeps/x86/dl-cacheinfo.h) is therefore patched to return
    1 MiB. A glibc without that function stays unchanged.
    """
    symbols = [line.split() for line in run(["nm", program]).splitlines()]
    found = [int(row[0], 16) for row in symbols if len(row) == 3 and row[2].startswith("handle_intel")]
    if os.uname().machine != "x86_64" or len(found) != 1:
        return
    segments = [line.split() for line in run(["readelf", "-lW", program]).splitlines() if line.split()[:1] == ["LOAD"]]
    for _, offset, address, _, size, *_ in segments:
        inside = found[0] - int(address, 16)
        if 0 <= inside < int(size, 16):
            with open(program, "r+b") as file:
                file.seek(int(offset, 16) + inside)
                file.write(b"\xb8" + (1 << 20).to_bytes(4, "little") + b"\xc3")  # mov $1 << 20, %eax; ret


def pack(package: str, path: str) -> None:
    """Compiles the modules of a package into one file, with relative paths and without docstrings."""
    modules = {}
    for directory, _, files in sorted(os.walk(os.path.join(package, "pyoci"))):
        for file in sorted(files):
            relative = os.path.relpath(os.path.join(directory, file), package)
            name = relative[:-3].replace("/", ".").removesuffix(".__init__")
            if not file.endswith(".py") or any(name == out or name.startswith(out + ".") for out in LEFT_OUT):
                continue
            with open(os.path.join(directory, file), encoding="utf-8") as source:
                code = compile(source.read(), relative, "exec", dont_inherit=True, optimize=2)
            modules[name] = (code, file == "__init__.py")
    with open(path, "wb") as packed:
        marshal.dump(modules, packed)


def build(output: str, package: str, work: str, defines: list[str]) -> None:
    """Builds the image, and accepts it if it passes its trial. Raises Unable."""
    program = link(work, compile_parts(work, defines))
    modules = os.path.join(work, "image-modules")
    pack(package, modules)
    made = output + ".new"
    zones = os.path.join(work, "image-zones")
    if os.path.exists(zones):
        os.unlink(zones)
    scripts = [os.path.join(HERE, name) for name in ("image.py", "hot.py")]
    seed = str(int.from_bytes(os.urandom(4), "little"))
    command = [os.path.abspath(program), made, scripts[0], modules, zones, scripts[1], seed]
    run(command, env={})  # the first run writes the zones of its blocks, the second run the image
    run(command, env={})
    found = trial.faults(made, package, work)
    if found:
        raise Unable("\n".join(["the image was built, but does not do what the interpreter does:", *found]))
    os.replace(made, output)


if __name__ == "__main__":
    try:
        build(sys.argv[1], sys.argv[2], sys.argv[3], shlex.split(sys.argv[4]))
    except (Unable, OSError, subprocess.TimeoutExpired) as error:
        print(f"{error}\nsetup.py: the launcher is not built as an image", file=sys.stderr)
        sys.exit(3)
