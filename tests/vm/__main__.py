# SPDX-License-Identifier: Apache-2.0
"""Runs tests in a virtual machine: ``python -m vm [ARGUMENT OF PYTEST]...`` (as root; ``make test-vm``).

The machine has what a test host may lack: cgroup v2 with all controllers, systemd, AppArmor, an ordinary user. qemu
emulates it, as a test host may be a virtual machine without nested virtualisation, so a process takes about 15 times as
long inside. Its disk is thrown away after the run. The exit status is that of pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vm import image

DEFAULT_TESTS = ["tests/runtime"]
LONGEST = 3 * 3600  # seconds, for one run
APPEND = "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=false"


def boot(disk: Path, kernel: Path, initrd: Path, share: Path) -> None:
    """Runs the machine to its end, with ``share`` as its 9p share. Raises TimeoutExpired after LONGEST seconds."""
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]
    command += ["-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel), "-initrd", str(initrd)]
    command += ["-append", APPEND, "-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe"]
    command += ["-virtfs", f"local,path={share},mount_tag=share,security_model=none"]
    with open(share / "console", "wb") as console:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True, timeout=LONGEST)


def main(arguments: list[str]) -> int:
    """Builds the image, runs the tests in it, shows what they printed. Returns the exit status."""
    if os.geteuid() != 0:
        print("test-vm: makes a file system image: needs root", file=sys.stderr)
        return 1
    cache = image.REPOSITORY / "build/vm"
    disk, kernel, initrd = image.build(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix="share-") as directory:
        share = Path(directory)
        (share / "tests").write_text(" ".join(arguments or DEFAULT_TESTS) + "\n")
        boot(disk, kernel, initrd, share)
        for name in ("output", "results.xml", "console"):
            if (share / name).exists():
                (cache / name).write_bytes((share / name).read_bytes())
        if not (share / "status").exists():
            print(f"test-vm: the machine ended before its tests did; see {cache / 'console'}", file=sys.stderr)
            return 1
        sys.stdout.write((share / "output").read_text(errors="replace"))
        return int((share / "status").read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
