# SPDX-License-Identifier: Apache-2.0
"""Mounts of every kind that engines ask for, seen from inside by mountinfo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import host, inspection
from harness.bundle import Bundle, bind, mount
from harness.inspection import Mount
from harness.runtime import Runtime


def table(runtime: Runtime, bundle: Bundle) -> dict[str, Mount]:
    """The mounts of a container."""
    return inspection.parse_mounts(runtime.output(bundle.args("/bin/cat", "/proc/self/mountinfo")))


def shared_directory(runtime: Runtime, name: str = "volume") -> Path:
    """A directory of the host with a file in it."""
    path = runtime.tmp / name
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


def test_default_mounts(runtime: Runtime) -> None:
    mounts = table(runtime, runtime.bundle())
    assert {path: mounts[path].type for path in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys")} == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounts["/sys"].options
    assert {"nosuid", "strictatime"} <= mounts["/dev"].options | {"strictatime"}
    assert "nosuid" in mounts["/dev"].options
    assert "size=65536k" in mounts["/dev/shm"].super_options


def test_nothing_of_the_host_is_mounted(runtime: Runtime) -> None:
    mounts = table(runtime, runtime.bundle())
    allowed = ("/proc", "/dev", "/sys")
    assert [path for path in mounts if path != "/" and not path.startswith(allowed)] == []


def test_old_root_is_gone(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("ls -a /")
    names = set(runtime.output(bundle).split()) - {".", ".."}
    assert names == {entry.name for entry in bundle.rootfs.iterdir()}


def test_tmpfs_size_and_mode(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/scratch", "tmpfs", "tmpfs", "size=4m", "mode=0710", "uid=7", "gid=8", "nr_inodes=100"))
    out = runtime.output(bundle.sh("stat -c '%a %u %g' /scratch; grep ' /scratch ' /proc/self/mountinfo"))
    assert out.splitlines()[0] == "710 7 8"
    assert "size=4096k" in out


@pytest.mark.usefixtures("cgroups")
def test_cgroup(runtime: Runtime) -> None:
    mounts = table(runtime, runtime.bundle().namespace("cgroup"))
    assert "/sys/fs/cgroup" in mounts
    if not host.unified():
        below = {path for path in mounts if path.startswith("/sys/fs/cgroup/")}
        assert {f"/sys/fs/cgroup/{name}" for name in ("memory", "pids", "devices", "freezer")} <= below
        assert all("ro" in mounts[path].options for path in below)


@pytest.mark.usefixtures("cgroups")
def test_cgroup_shows_the_own_group(runtime: Runtime) -> None:
    bundle = runtime.bundle().namespace("cgroup")
    path = "/sys/fs/cgroup" if host.unified() else "/sys/fs/cgroup/pids"
    assert runtime.output(bundle.args("/bin/cat", f"{path}/cgroup.procs")) == "1\n"


def test_bind(runtime: Runtime) -> None:
    volume = shared_directory(runtime)
    bundle = runtime.bundle().sh("cat /volume/file; echo new > /volume/new")
    bundle.mounts.append(bind(volume, "/volume"))
    assert runtime.output(bundle) == "content\n"
    assert (volume / "new").read_text() == "new\n"


def test_bind_read_only(runtime: Runtime) -> None:
    volume = shared_directory(runtime)
    bundle = runtime.bundle().sh("cat /volume/file; echo new > /volume/new")
    bundle.mounts.append(bind(volume, "/volume", "ro"))
    result = runtime.run(bundle)
    assert result.code != 0
    assert "Read-only file system" in result.err
    assert not (volume / "new").exists()


def test_bind_keeps_the_options_of_its_source(runtime: Runtime) -> None:
    """Of a nosuid source, a bind without options of its own stays nosuid."""
    volume = shared_directory(runtime)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "volume", volume], check=True)
    try:
        bundle = runtime.bundle()
        bundle.mounts.extend([bind(volume, "/plain"), bind(volume, "/ro", "ro")])
        mounts = table(runtime, bundle)
    finally:
        subprocess.run(["umount", volume], check=True)
    assert {"nosuid", "nodev", "noexec", "rw"} <= mounts["/plain"].options
    assert {"nosuid", "nodev", "noexec", "ro"} <= mounts["/ro"].options


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (("nosuid",), "nosuid"),
        (("nodev",), "nodev"),
        (("noexec",), "noexec"),
        (("noatime",), "noatime"),
        (("nodiratime",), "nodiratime"),
        (("ro", "nosuid", "nodev", "noexec"), "ro"),
        (("relatime",), "relatime"),
    ],
)
def test_option_of_a_bind(runtime: Runtime, options: tuple[str, ...], seen: str) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(bind(shared_directory(runtime), "/volume", *options))
    assert {*options, seen} <= table(runtime, bundle)["/volume"].options


def test_noexec_works(runtime: Runtime) -> None:
    volume = shared_directory(runtime)
    (volume / "tool").write_text("#!/bin/sh\necho ran\n")
    (volume / "tool").chmod(0o755)
    bundle = runtime.bundle().sh("/volume/tool")
    bundle.mounts.append(bind(volume, "/volume", "noexec"))
    assert "Permission denied" in runtime.run(bundle).err


def tree_with_submount(runtime: Runtime) -> Path:
    """A directory in which a tmpfs is mounted; the caller unmounts it."""
    volume = shared_directory(runtime)
    (volume / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "sub", volume / "sub"], check=True)
    (volume / "sub/inner").write_text("inner\n")
    return volume


@pytest.mark.parametrize(("kind", "visible"), [("bind", False), ("rbind", True)])
def test_recursion_of_a_bind(runtime: Runtime, kind: str, visible: bool) -> None:
    volume = tree_with_submount(runtime)
    try:
        bundle = runtime.bundle().sh("ls /volume/sub")
        bundle.mounts.append(mount("/volume", "bind", str(volume), kind))
        assert runtime.output(bundle) == ("inner\n" if visible else "")
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)


@pytest.mark.parametrize(("option", "inner"), [("ro", "rw"), ("rro", "ro")])
def test_recursive_read_only(runtime: Runtime, option: str, inner: str) -> None:
    volume = tree_with_submount(runtime)
    try:
        bundle = runtime.bundle()
        bundle.mounts.append(bind(volume, "/volume", "rbind", option))
        mounts = table(runtime, bundle)
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)
    assert "ro" in mounts["/volume"].options
    assert inner in mounts["/volume/sub"].options


@pytest.mark.parametrize("option", ["rnosuid", "rnodev", "rnoexec"])
def test_recursive_attributes(runtime: Runtime, option: str) -> None:
    volume = tree_with_submount(runtime)
    try:
        bundle = runtime.bundle()
        bundle.mounts.append(bind(volume, "/volume", "rbind", option))
        mounts = table(runtime, bundle)
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)
    assert option[1:] in mounts["/volume"].options & mounts["/volume/sub"].options


@pytest.mark.parametrize(
    ("option", "shared", "master"),
    [
        ("private", False, False),
        ("rprivate", False, False),
        ("slave", False, True),
        ("rslave", False, True),
        ("shared", True, None),
        ("rshared", True, None),
        ("unbindable", False, False),
    ],
)
def test_propagation_of_a_bind(runtime: Runtime, option: str, shared: bool, master: bool | None) -> None:
    volume = shared_directory(runtime)
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        bundle = runtime.bundle()
        bundle.linux["rootfsPropagation"] = "rshared" if "shared" in option else "rslave"
        bundle.mounts.append(bind(volume, "/volume", option))
        found = table(runtime, bundle)["/volume"].propagation
    finally:
        subprocess.run(["umount", volume], check=True)
    assert ("shared" in found) is shared
    if master is not None:
        assert ("master" in found) is master
    assert ("unbindable" in found) is (option == "unbindable")


def test_mount_of_the_host_arrives_in_a_slave(runtime: Runtime) -> None:
    volume = shared_directory(runtime)
    (volume / "sub").mkdir()
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        bundle = runtime.bundle()
        bundle.linux["rootfsPropagation"] = "rslave"
        bundle.mounts.append(bind(volume, "/volume", "rbind", "rslave"))
        container = runtime.start(bundle)
        subprocess.run(["mount", "-t", "tmpfs", "late", volume / "sub"], check=True)
        (volume / "sub/late").touch()
        assert container.sh("ls /volume/sub") == "late\n"
    finally:
        subprocess.run(["umount", "-R", volume], check=True)


def test_nothing_is_mounted_on_the_host(runtime: Runtime) -> None:
    before = set(inspection.mounts(os.getpid()))
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/scratch", "tmpfs", "tmpfs"))
    runtime.start(bundle)
    mine = {path for path in inspection.mounts(os.getpid()) if path.startswith(str(runtime.tmp))}
    assert mine <= before


@pytest.mark.parametrize("propagation", ["private", "rprivate", "slave", "rslave", "unbindable"])
def test_rootfs_propagation(runtime: Runtime, propagation: str) -> None:
    bundle = runtime.bundle()
    bundle.linux["rootfsPropagation"] = propagation
    found = table(runtime, bundle)["/"].propagation
    assert "shared" not in found
    assert ("unbindable" in found) is (propagation == "unbindable")


def test_rootfs_propagation_shared(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["rootfsPropagation"] = "shared"
    assert "shared" in table(runtime, bundle)["/"].propagation


def test_rootfs_propagation_empty(runtime: Runtime) -> None:
    """An engine writes the empty text for what nobody asked for."""
    bundle = runtime.bundle()
    bundle.linux["rootfsPropagation"] = ""
    found = table(runtime, bundle)["/"].propagation
    assert "shared" not in found
    assert "unbindable" not in found


def test_rootfs_propagation_unknown(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["rootfsPropagation"] = "nonesuch"
    assert "rootfsPropagation" in runtime.refuses(bundle)


def test_rootfs_is_writable(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo x > /new")
    runtime.output(bundle)
    assert (bundle.rootfs / "new").read_text() == "x\n"


def test_rootfs_read_only(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo x > /dev/shm/x && echo x > /new")
    bundle.config["root"]["readonly"] = True
    result = runtime.run(bundle)
    assert "/new: Read-only file system" in result.err
    assert not (bundle.rootfs / "new").exists()


def test_rootfs_by_absolute_path(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.config["root"]["path"] = str(bundle.rootfs)
    assert runtime.output(bundle) == "ok\n"


@pytest.mark.parametrize("option", ["readonly", "r0", "nosiud", "ro,nosiud"])
def test_unknown_option_of_a_bind(runtime: Runtime, option: str) -> None:
    """The kernel ignores the data of a bind mount: a misspelt ro would leave it writable."""
    bundle = runtime.bundle().sh("echo x > /volume/new")
    volume = shared_directory(runtime)
    bundle.mounts.append(mount("/volume", "bind", str(volume), "bind", option))
    error = runtime.refuses(bundle)
    assert option.rpartition(",")[2] in error
    assert "mounts/7/options" in error
    assert not (volume / "new").exists()


def test_misspelt_bind(runtime: Runtime) -> None:
    """The type bind says what is meant, and still what nobody knows is refused."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.mounts.append(mount("/volume", "bind", str(shared_directory(runtime)), "bnd"))
    runtime.refuses(bundle)


@pytest.mark.parametrize("options", [("sync", "lazytime"), ("nofail", "_netdev"), ("x-systemd.automount", "loud")])
def test_options_without_effect_on_a_bind(runtime: Runtime, options: tuple[str, ...]) -> None:
    """What belongs to a superblock, and what mount(8) keeps for itself."""
    bundle = runtime.bundle().args("/bin/true")
    bundle.mounts.append(bind(shared_directory(runtime), "/volume", *options))
    runtime.output(bundle)


def test_several_options_in_one_text(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/volume", "bind", str(shared_directory(runtime)), "bind,ro,nosuid"))
    assert {"ro", "nosuid"} <= table(runtime, bundle)["/volume"].options


def test_bind_of_a_file(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/etc/hosts")
    (runtime.tmp / "hosts").write_text("127.0.0.1 me\n")
    bundle.mounts.append(bind(runtime.tmp / "hosts", "/etc/hosts"))
    assert runtime.output(bundle) == "127.0.0.1 me\n"
    assert (bundle.rootfs / "etc/hosts").read_text() == ""


def test_bind_of_a_file_over_a_file(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/etc/passwd")
    (runtime.tmp / "other").write_text("other\n")
    bundle.mounts.append(bind(runtime.tmp / "other", "/etc/passwd", "ro"))
    assert runtime.output(bundle) == "other\n"


def test_bind_of_a_directory_over_a_file(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(bind(shared_directory(runtime), "/etc/passwd"))
    assert "/etc/passwd" in runtime.refuses(bundle)


def test_bind_of_a_missing_source(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(bind("/nonesuch/source", "/volume"))
    assert "/nonesuch/source" in runtime.refuses(bundle)


def test_bind_source_relative_to_the_bundle(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/volume/file")
    (bundle.path / "data").mkdir()
    (bundle.path / "data/file").write_text("relative\n")
    bundle.mounts.append(bind("data", "/volume"))
    assert runtime.output(bundle) == "relative\n"


def test_bind_source_may_be_a_symlink(runtime: Runtime) -> None:
    volume = shared_directory(runtime)
    (runtime.tmp / "link").symlink_to(volume)
    bundle = runtime.bundle().args("/bin/cat", "/volume/file")
    bundle.mounts.append(bind(runtime.tmp / "link", "/volume"))
    assert runtime.output(bundle) == "content\n"


def test_missing_targets_are_made(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/a/b/c/file")
    bundle.mounts.append(bind(shared_directory(runtime), "/a/b/c"))
    assert runtime.output(bundle) == "content\n"
    assert (bundle.rootfs / "a/b/c").is_dir()


def test_relative_destination(runtime: Runtime) -> None:
    """runtime-spec 1.3: a destination that is not absolute is taken from /."""
    bundle = runtime.bundle().args("/bin/cat", "/volume/file")
    bundle.mounts.append(bind(shared_directory(runtime), "volume"))
    assert runtime.output(bundle) == "content\n"


def test_destination_through_a_symlink_stays_inside(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/inside/file")
    (bundle.rootfs / "link").symlink_to("/inside")
    (bundle.rootfs / "inside").mkdir()
    bundle.mounts.append(bind(shared_directory(runtime), "/link"))
    assert runtime.output(bundle) == "content\n"


def test_destination_with_dots_stays_inside(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/volume/file")
    bundle.mounts.append(bind(shared_directory(runtime), "/work/../../../volume"))
    assert runtime.output(bundle) == "content\n"


def test_order_of_mounts(runtime: Runtime) -> None:
    """A later mount is made in what an earlier one put there."""
    bundle = runtime.bundle().args("/bin/cat", "/scratch/volume/file")
    bundle.mounts.extend([mount("/scratch", "tmpfs", "tmpfs"), bind(shared_directory(runtime), "/scratch/volume")])
    assert runtime.output(bundle) == "content\n"


def test_tmpfs_over_a_file(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/etc/passwd", "tmpfs", "tmpfs"))
    runtime.refuses(bundle)


def test_unknown_file_system(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/scratch", "nonesuchfs", "none"))
    error = runtime.refuses(bundle)
    assert "nonesuchfs" in error


def test_unknown_option_of_a_file_system(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.mounts.append(mount("/scratch", "tmpfs", "tmpfs", "nonesuch=1"))
    runtime.refuses(bundle)


def test_no_mounts_at_all(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.config["mounts"] = [entry for entry in bundle.mounts if entry["destination"] == "/proc"]
    assert runtime.output(bundle) == "ok\n"


@pytest.mark.parametrize("mapped", [False, True])
def test_bind_source_that_an_earlier_mount_makes(runtime: Runtime, mapped: bool) -> None:
    """Inside the root file system; a user namespace makes no difference."""
    bundle = runtime.bundle().sh("cat /seen/made /relative/made; grep -c ' /seen ' /proc/self/mounts")
    if mapped:
        bundle.map_users()
    volume = runtime.tmp / "volume"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep" / "made").write_text("made\n")
    bundle.mounts.append(bind(volume, "/data", "bind"))
    bundle.mounts.append(bind(bundle.rootfs / "data" / "deep", "/seen", "bind", "ro"))
    bundle.mounts.append(bind("rootfs/data/deep", "/relative", "bind"))
    assert runtime.output(bundle) == "made\nmade\n1\n"


def test_bind_source_inside_the_root_does_not_lead_out(runtime: Runtime) -> None:
    """A link of the image's counts from the container's root, as for a mount's target."""
    secret = runtime.tmp / "secret"
    secret.mkdir()
    (secret / "canary").write_text("the host's")
    bundle = runtime.bundle().sh("ls /seen")
    (bundle.rootfs / "link").symlink_to(secret)
    bundle.mounts.append(bind(bundle.rootfs / "link", "/seen", "bind"))
    assert "canary" not in (runtime.run(bundle).out or "")


@pytest.mark.parametrize("cgroup", [False, True])
def test_sys_of_the_host_network_in_a_user_namespace(runtime: Runtime, cgroup: bool) -> None:
    """The kernel makes no sysfs for who does not own the network namespace: the host's is bound, all of it read-only,
    for its cgroups are below it."""
    bundle = runtime.bundle().map_users().sh("grep -E ' /sys(/|  *)' /proc/self/mounts; ls /sys/class/net")
    bundle.drop_namespace("network")
    bundle.mounts[:] = [entry for entry in bundle.mounts if cgroup or entry["destination"] != "/sys/fs/cgroup"]
    out = runtime.output(bundle).splitlines()
    mounts = [line.split() for line in out if " /sys" in line]
    assert [mount[2] for mount in mounts if mount[1] == "/sys"] == ["sysfs"]
    assert all("ro" in mount[3].split(",") for mount in mounts), mounts
    assert set(os.listdir("/sys/class/net")) <= set(out)


def test_masked_path_that_is_named_twice(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("grep -c ' /proc/keys ' /proc/self/mounts; grep -c ' /proc/bus ' /proc/self/mounts")
    bundle.linux["maskedPaths"] = ["/proc/keys", "/proc/keys", "/proc/./keys"]
    bundle.linux["readonlyPaths"] = ["/proc/bus", "/proc/./bus", "/proc/bus"]
    assert runtime.output(bundle) == "1\n1\n"


def test_paths_that_are_relative(runtime: Runtime) -> None:
    """They count from the root, as in the other runtimes; the specification wants absolute ones."""
    bundle = runtime.bundle().sh("cat /work/secret; echo x > /work/dir/file")
    (bundle.rootfs / "work/secret").write_text("secret")
    (bundle.rootfs / "work/dir").mkdir()
    bundle.linux["maskedPaths"] = ["work/secret"]
    bundle.linux["readonlyPaths"] = ["work/dir"]
    result = runtime.run(bundle)
    assert result.out == ""
    assert "/work/dir/file: Read-only file system" in result.err


def test_masked_file_and_directory(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh(
        "cat /work/secret; ls -A /work/dir; echo x > /work/dir/y; stat -c '%t:%T' /work/secret"
    )
    (bundle.rootfs / "work/secret").write_text("secret")
    (bundle.rootfs / "work/dir").mkdir()
    (bundle.rootfs / "work/dir/file").touch()
    bundle.linux["maskedPaths"] = ["/work/secret", "/work/dir", "/work/absent"]
    result = runtime.run(bundle)
    assert result.out == "1:3\n"
    assert "Read-only file system" in result.err
    assert not (bundle.rootfs / "work/absent").exists()


def test_readonly_paths(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo a > /work/dir/file; echo a > /work/other; cat /work/other")
    (bundle.rootfs / "work/dir").mkdir()
    bundle.linux["readonlyPaths"] = ["/work/dir", "/work/absent"]
    result = runtime.run(bundle)
    assert "/work/dir/file: Read-only file system" in result.err
    assert result.out == "a\n"


def test_default_masked_and_readonly_paths(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh(
        "cat /proc/keys /proc/timer_list; ls /sys/firmware; echo 1 > /proc/sys/kernel/domainname"
    )
    result = runtime.run(bundle)
    assert result.out == ""
    assert "Read-only file system" in result.err


def test_mqueue_is_of_the_ipc_namespace(runtime: Runtime) -> None:
    first = runtime.start(runtime.bundle().sh("touch /dev/mqueue/q; echo up; sleep 100"))
    first.wait_for("up")
    other = runtime.bundle().sh("ls /dev/mqueue")
    assert runtime.output(other) == ""
    other = runtime.bundle().namespace("ipc", f"/proc/{first.pid}/ns/ipc").sh("ls /dev/mqueue")
    assert runtime.output(other) == "q\n"


def test_no_pivot(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("ls -a /")
    result = runtime.run(bundle, "--no-pivot")
    assert result.code == 0, result
    assert set(result.out.split()) - {".", ".."} == {entry.name for entry in bundle.rootfs.iterdir()}


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
@pytest.mark.parametrize("mapped", [False, True])
def test_no_other_procfs_is_in_sight(runtime: Runtime, mapped: bool, flags: tuple[str, ...]) -> None:
    """The kernel lets a user namespace of the container's mount a procfs without masks if there is one in sight. With
    --no-pivot the host's are below the new root, and so must go."""
    attempt = "mount -t proc proc /work && ls /work/timer_list || echo refused"
    bundle = runtime.bundle().sh(f"unshare -U -r -m -p -f sh -c '{attempt}'")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    if mapped:
        bundle.map_users()
    result = runtime.run(bundle, *flags)
    assert result.out == "refused\n", result


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
@pytest.mark.parametrize("propagation", ["shared", "slave", "private"])
def test_shared_mounts_of_the_host_stay(runtime: Runtime, propagation: str, flags: tuple[str, ...]) -> None:
    """Neither the new root nor the end of the old one reaches a host whose mounts are shared."""
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/mountinfo")
    bundle.linux["rootfsPropagation"] = propagation
    bundle.save()
    runtime.container(bundle)
    before, after = runtime.tmp / "before", runtime.tmp / "after"
    script = f'mount --make-rshared /; cat /proc/self/mountinfo >{before}; "$@"; cat /proc/self/mountinfo >{after}'
    host = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    command = [str(runtime.command), "--root", str(runtime.root), "run", "--bundle", str(bundle.path), *flags]
    done = subprocess.run([*host, *command, bundle.name], capture_output=True, text=True, timeout=15, check=True)
    assert {"/", "/proc"} <= set(inspection.parse_mounts(done.stdout)), done.stderr
    assert "/etc" not in done.stdout
    assert after.read_text() == before.read_text()


@pytest.mark.parametrize("name", ["cpuinfo", "uptime", "sys/kernel/ns_last_pid"])
def test_files_of_lxcfs(runtime: Runtime, name: str) -> None:
    """The files that lxcfs gives a container may be bound on its /proc."""
    bundle = runtime.bundle().args("/bin/cat", f"/proc/{name}")
    (runtime.tmp / "given").write_text("given\n")
    bundle.mounts.append(bind(runtime.tmp / "given", f"/proc/{name}"))
    assert runtime.output(bundle) == "given\n"


def test_bind_inside_proc_net(runtime: Runtime) -> None:
    """The kernel looks /proc/net/* up anew each time, and takes away what is mounted there: never in silence."""
    bundle = runtime.bundle().args("/bin/cat", "/proc/net/dev")
    (runtime.tmp / "given").write_text("given\n")
    bundle.mounts.append(bind(runtime.tmp / "given", "/proc/net/dev"))
    assert "/proc/net/dev" in runtime.refuses(bundle)
