# SPDX-License-Identifier: Apache-2.0
"""What the black-box tests share: a runtime to call, bundles to give it, and a look at what it left.

runtime.py      the command under test (RUNTIME=, by default build/pyoci), and a container of it
bundle.py       root file systems from busybox-static, and config.json documents
inspection.py   namespaces, credentials, descriptors and mounts of a process, read from /proc
console.py      the engine's end of a console socket
podman.py, containerd.py, cri.py   an engine of the test's own; cri.py is Kubernetes' way, by cri.proto
leaks.py        what a test left behind: processes, control groups, mounts, files
differences.py  where runc and crun are known to do otherwise, each with its reason
host.py         what this machine can do, and crun's needs of it
plugin.py       the fixtures; a conftest.py imports them
"""
