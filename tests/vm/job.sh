#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs inside the virtual machine, once: the tests that the share names, then the end of the machine.
# The share holds `tests` (arguments of pytest); it gets `output`, `results.xml` and, last, `status`.
set -u
share=/run/share
mkdir -p $share
modprobe 9pnet_virtio
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share $share || poweroff --force
{
    uname -sr
    python3 --version
    printf 'controllers: %s\n' "$(cat /sys/fs/cgroup/cgroup.controllers)"
    printf 'security modules: %s\n' "$(cat /sys/kernel/security/lsm)"
    cd /root/pyoci || exit
    read -ra arguments <$share/tests
    build/venv/bin/python -m pytest -q --junitxml=$share/results.xml "${arguments[@]}"
    echo $? >$share/status.new
} >$share/output 2>&1 </dev/null
sync
mv $share/status.new $share/status
systemctl poweroff --force
