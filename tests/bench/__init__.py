# SPDX-License-Identifier: Apache-2.0
"""`make bench`: pyoci beside runc, crun and the kernel's own floor, interleaved in one run.

__main__.py      the command: run, docs, instructions
machine.py       a mount namespace of our own, its caches, and facts of this machine
timer.py         one call of a program: its time, its exit
tools.py         the runtimes, and bundles for them
profile.py       podman's default seccomp profile as engines hand it to a runtime
verbs.py         each verb, seccomp, pods
memory.py        peaks, and what a container keeps
scale.py         10, 100, 1,000 containers beside; 100 in a row and at once
engines.py       podman run, ctr run
instructions.py  instructions in user space, step by step
stats.py         medians, spreads, ratios
table.py         the table of a terminal
docs.py          docs/benchmarks.md and its plots
floor.c peak.c   the floor; a parent that is smaller than what it measures
instructions.c   runs a program and counts its instructions
"""
