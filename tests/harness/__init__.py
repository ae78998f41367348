# SPDX-License-Identifier: Apache-2.0
"""The harness of the black-box tests: calls a runtime, makes bundles, and checks what is left behind.

runtime.py      the command under test (RUNTIME=, by default build/pyoci), and its containers
bundle.py       root file systems from busybox-static, and config.json documents
inspection.py   namespaces, credentials, descriptors and mounts of a process, read from /proc
console.py      the engine's end of a console socket
podman.py, containerd.py, cri.py   an engine for the tests; cri.py speaks the CRI, as Kubernetes does (cri.proto)
leaks.py        finds what a test left behind: processes, control groups, mounts, files
differences.py  the tests that runc or crun are known to fail, with the reasons
host.py         what this machine can do, and what crun needs from it
plugin.py       the fixtures, which a conftest.py imports
"""
