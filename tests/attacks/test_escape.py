# SPDX-License-Identifier: Apache-2.0
"""Ways out: inherited descriptors, the runtime's own program, cgroup paths, what the runtime loads."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from harness import host, tracing
from harness.runtime import REPOSITORY, Runtime

DESCRIPTORS = range(31)
UP = "../" * 12


@pytest.fixture
def marker(runtime: Runtime) -> str:
    """The path of a host file, without its first slash, as it is found by climbing up from any host directory."""
    path = runtime.tmp / "marker"
    path.write_text("marker of the host\n")
    return str(path).lstrip("/")


def host_files(runtime: Runtime) -> dict[Path, str]:
    """Hashes of the runtime's files."""
    files = [runtime.command.resolve()]
    if runtime.kind == "pyoci":
        files += [path for path in (REPOSITORY / "build/lib").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_cwd_through_a_descriptor(runtime: Runtime, marker: str) -> None:
    """CVE-2024-21626: no descriptor that is open during the start leads to the host."""
    descriptor = os.open(runtime.tmp, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(descriptor, True)
    try:
        for number in DESCRIPTORS:
            bundle = runtime.bundle().sh(f"cat {UP}{marker}")
            bundle.process["cwd"] = f"/proc/self/fd/{number}"
            result = runtime.run(bundle, pass_fds=[descriptor])
            assert "marker of the host" not in result.out, result
            assert result.code != 0, result
    finally:
        os.close(descriptor)


def test_cwd_of_exec_through_a_descriptor(runtime: Runtime, marker: str) -> None:
    container = runtime.start(runtime.bundle())
    descriptor = os.open(runtime.tmp, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in DESCRIPTORS:
            result = container.exec(
                "/bin/cat", f"{UP}{marker}", flags=["--cwd", f"/proc/self/fd/{number}"], pass_fds=[descriptor]
            )
            assert "marker of the host" not in result.out, result
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_cwd_through_a_preserved_descriptor(runtime: Runtime, marker: str, verb: str) -> None:
    """The caller gives a directory of the host away: the program may have it, but does not begin in it."""
    # in a PID namespace of the container, /proc/self names nothing before exec has become a member of it
    container = runtime.start(runtime.bundle().drop_namespace("pid"))
    descriptor = os.open(runtime.tmp, os.O_RDONLY | os.O_DIRECTORY)
    try:
        preserve = ["--preserve-fds", str(descriptor - 2)]
        if verb == "run":
            bundle = runtime.bundle().sh("echo began")
            bundle.process["cwd"] = f"/proc/self/fd/{descriptor}"
            result = runtime.run(bundle, *preserve, pass_fds=[descriptor])
        else:
            flags = [*preserve, "--cwd", f"/proc/self/fd/{descriptor}"]
            result = container.exec("/bin/echo", "began", flags=flags, pass_fds=[descriptor])
    finally:
        os.close(descriptor)
    assert result.code != 0, result
    assert "began" not in result.out
    if runtime.kind == "pyoci":
        why = {"run": "too many levels of symbolic links", "exec": "outside of the container's root"}
        assert why[verb] in result.err


def test_program_through_a_descriptor(runtime: Runtime) -> None:
    tool = runtime.tmp / "tool"
    tool.write_text("#!/bin/sh\necho host program ran\n")
    tool.chmod(0o755)
    container = runtime.start(runtime.bundle())
    for number in DESCRIPTORS:
        result = container.exec(f"/proc/self/fd/{number}/{UP}{str(tool).lstrip('/')}")
        assert result.code != 0, result
        assert "host program ran" not in result.out


def test_cwd_that_is_a_link_to_a_descriptor(runtime: Runtime, marker: str) -> None:
    for number in range(3, 15):
        bundle = runtime.bundle().sh(f"cat {UP}{marker}")
        (bundle.rootfs / "cwd").symlink_to(f"/proc/self/fd/{number}")
        bundle.process["cwd"] = "/cwd"
        assert "marker of the host" not in runtime.run(bundle).out


def test_runtime_is_not_overwritten(runtime: Runtime) -> None:
    """CVE-2019-5736: the program is the runtime's own; whoever holds /proc/PID/exe open cannot write to it."""
    before = host_files(runtime)
    bundle = runtime.bundle().sh(
        "while :; do for p in /proc/[0-9]*; do { echo pwned >> $p/exe; } 2>/dev/null; done; done"
    )
    bundle.capabilities("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    (bundle.rootfs / "work/script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "work/script").chmod(0o755)
    own = bundle.rootfs / "bin/busybox"
    content = own.read_bytes()
    own.unlink()
    own.write_bytes(content)  # not the shared one: the attack does write to the container's programs
    own.chmod(0o755)
    container = runtime.start(bundle)
    for _ in range(8):
        container.exec("/proc/self/exe", timeout=5)
        container.exec("/work/script", timeout=5)
    assert host_files(runtime) == before


def test_runtime_as_the_program(runtime: Runtime) -> None:
    before = host_files(runtime)
    bundle = runtime.bundle().args("/proc/self/exe")
    result = runtime.run(bundle, timeout=10)
    assert "Traceback" not in result.err
    assert host_files(runtime) == before


def test_watcher_sees_nothing_of_the_host(runtime: Runtime) -> None:
    """CVE-2016-9962: a container that may trace looks into each process that exec brings."""
    look = "for p in /proc/[0-9]*; do ls -l $p/exe $p/cwd $p/root $p/fd/ 2>/dev/null; done"
    bundle = runtime.bundle().sh(f"(while :; do {look}; done) > /work/seen & sleep 100").capabilities("CAP_SYS_PTRACE")
    container = runtime.start(bundle)
    for _ in range(20):
        assert container.exec("/bin/true").code == 0
    lines = (bundle.rootfs / "work/seen").read_text().splitlines()
    seen = {line.partition(" -> ")[2] for line in lines if " -> " in line}
    assert "/bin/busybox" in seen
    hints = (runtime.tmp.name, str(runtime.command), "state.json", "/usr/", "/home")
    strange = [target for target in seen if any(hint in target for hint in hints)]
    assert [target for target in strange if "/call-" not in target] == []  # the standard streams that this test gave


@pytest.mark.parametrize("path", ["../../../../x", "/../../../../x", "/x-a/../../../x", "x-a/../../../../x"])
def test_cgroup_path_with_dots(runtime: Runtime, path: str) -> None:
    """A cgroup path is refused, or stays below the hierarchy's root."""
    name = f"{runtime.prefix}-dots"
    bundle = runtime.bundle().args("/bin/true")
    bundle.linux["cgroupsPath"] = path.replace("x", name)
    runtime.run(bundle)
    runtime.call("delete", "--force", bundle.name)
    found = [
        above / name
        for above in (host.CGROUP_ROOT, Path("/sys/fs"), Path("/sys"), Path("/"))
        if (above / name).exists()
    ]
    for made in found:  # plain files, outside of any cgroup file system
        shutil.rmtree(made)
    assert found == []


@pytest.mark.parametrize("path", ["../..", "/../..", "pids:../../", "sub/../../.."])
def test_cgroup_of_exec_with_dots(runtime: Runtime, path: str) -> None:
    container = runtime.start(runtime.bundle())
    runtime.fails("exec", "--cgroup", path, container.id, "/bin/true")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "..", "", "cgroup.procs/../../x"])
def test_unified_key_that_is_a_path(runtime: Runtime, key: str) -> None:
    """GHSA-5g49-rx9x-qfc6: the key is a file name in the group, never a path."""
    bundle = runtime.bundle()
    bundle.linux["resources"]["unified"] = {key: "1"}
    runtime.refuses(bundle)


def test_namespace_path_of_70_kilobytes(runtime: Runtime) -> None:
    """CVE-2021-43784: a length that overflowed 16 bits let the rest be parsed as other settings."""
    bundle = runtime.bundle()
    bundle.namespace("network", "/" + "n" * 70000)
    error = runtime.refuses(bundle)
    assert len(error) < 20000


def test_namespace_path_with_a_nul_and_more(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.namespace("network", "/proc/1/ns/net\0,user:/proc/1/ns/user")
    runtime.refuses(bundle)


def test_too_many_id_maps(runtime: Runtime) -> None:
    """The kernel takes 340 lines."""
    bundle = runtime.bundle().namespace("user")
    maps = [{"containerID": number, "hostID": 100000 + number, "size": 1} for number in range(5000)]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = maps
    runtime.refuses(bundle)


PLANTED = (
    "encodings/__init__.py",
    "sitecustomize.py",
    "usercustomize.py",
    "pyvenv.cfg",
    "libnss_files.so.2",
    "libnss_evil.so.2",
    "etc/ld.so.preload",
    "evil.so",
    "gconv/gconv-modules",
    "pyoci/__init__.py",
    "json/__init__.py",
)


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_nothing_of_the_image_is_loaded(runtime: Runtime, verb: str) -> None:
    """Files that an interpreter or a C library would load are never opened by the runtime, with any environment."""
    bundle = runtime.bundle()
    places = [bundle.rootfs, bundle.rootfs / "lib/x86_64-linux-gnu", bundle.rootfs / "usr/lib/python3.11", bundle.path]
    for path in (place / name for place in places for name in PLANTED):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("planted\n")
    (bundle.rootfs / "etc/nsswitch.conf").write_text("passwd: evil files\n")
    bundle.process["env"] += [
        "LD_PRELOAD=/evil.so",
        "PYTHONPATH=/",
        "PYTHONHOME=/usr",
        "GCONV_PATH=/gconv",
        "LD_LIBRARY_PATH=/",
    ]
    if verb == "create":
        words = ["create", "--bundle", str(bundle.save().path), runtime.container(bundle).id]
    else:
        words = ["exec", runtime.start(bundle).id, "/bin/true"]
    lines = tracing.trace(runtime, bundle.name, *words, cwd=bundle.path)
    planted = {name.rsplit("/", 1)[-1] for name in PLANTED}
    opened = [line for line in lines if any(f'{name}"' in line for name in planted) and " = -1 " not in line]
    inside = [line for line in opened if str(bundle.path) in line or '"/usr' not in line and '"/etc' not in line]
    assert [line for line in inside if str(REPOSITORY) not in line] == []
    assert not any("libnss_evil" in line for line in lines)
