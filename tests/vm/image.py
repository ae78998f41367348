# SPDX-License-Identifier: Apache-2.0
"""The disk image of the virtual machine: Debian 13 with systemd, and this checkout built inside of it.

The system is made once and kept below ``build/vm``; it is made anew when its list of packages changes. The checkout
goes into a copy of it, is built there by chroot(8) at the host's own speed, and becomes an ext4 image. The machine
itself never has a network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
RELEASE = "trixie"
SIZE = "8G"  # sparse
# How this host reaches the package index; a chroot has to be told.
HOST_FILES = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
JOB = """\
[Unit]
Description=pyoci's tests
After=multi-user.target

[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/bin/bash /root/pyoci/tests/vm/job.sh

[Install]
WantedBy=multi-user.target
"""


def packages() -> list[str]:
    """The names of the Debian packages that the system holds, sorted."""
    own = [line for line in (HERE / "packages.txt").read_text().splitlines() if line and not line.startswith("#")]
    rows = (REPOSITORY / "packaging/debian-packages.txt").read_text().splitlines()
    build = [row.split()[1] for row in rows if row.startswith("build ")]
    return sorted({*own, *build})


def system(cache: Path) -> Path:
    """Returns the directory of the bare system, which is made if it is absent or of other packages.

    cache: a directory that outlives runs. Raises CalledProcessError if mmdebstrap(1) fails.
    """
    wanted = packages()
    key = hashlib.sha256("\n".join([RELEASE, *wanted]).encode()).hexdigest()[:16]
    made = cache / f"{RELEASE}-{key}"
    if not made.exists():
        for old in cache.glob(f"{RELEASE}-*"):
            shutil.rmtree(old)
        unfinished = cache / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        run("mmdebstrap", "--variant=minbase", f"--include={','.join(wanted)}", RELEASE, str(unfinished))
        unfinished.rename(made)
    return made


def build(cache: Path) -> tuple[Path, Path, Path]:
    """Builds this checkout's HEAD in a copy of the system. Returns the paths of the image, the kernel and its initrd.

    Raises CalledProcessError if a step fails.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", str(system(cache)), str(tree))
    for name in HOST_FILES:
        if Path(name).exists():
            shutil.copy2(name, tree / name[1:])
    run("git", "clone", "-q", str(REPOSITORY), str(tree / "root/pyoci"))
    inside(tree, "make -C /root/pyoci")
    settle(tree)
    image = cache / "root.img"
    image.unlink(missing_ok=True)
    run("truncate", "-s", SIZE, str(image))
    run("mkfs.ext4", "-q", "-d", str(tree), str(image))
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    (initrd,) = (tree / "boot").glob("initrd.img-*")
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd")):
        shutil.copy2(source, cache / name)
    shutil.rmtree(tree)
    return image, cache / "vmlinuz", cache / "initrd"


def settle(tree: Path) -> None:
    """Writes what makes the tree a machine: its name, its disk, an ordinary user, the service that runs the tests."""
    (tree / "etc/hostname").write_text("pyoci-vm\n")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 rw 0 1\n")
    (tree / "etc/systemd/system/pyoci-tests.service").write_text(JOB)
    inside(tree, "useradd -m -s /bin/bash user && systemctl enable -q pyoci-tests.service && passwd -q -d root")


def inside(tree: Path, command: str) -> None:
    """Runs a shell command in the tree, with proc, sys and dev in a mount namespace of its own."""
    mounts = (
        'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount --rbind /dev "$0/dev" &&'
        ' exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 sh -euc "$1"'
    )
    run("unshare", "--mount", "--propagation", "private", "sh", "-euc", mounts, str(tree), command)


def run(*command: str) -> None:
    """Executes a command. Raises CalledProcessError if it fails."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
