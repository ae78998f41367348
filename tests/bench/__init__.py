# SPDX-License-Identifier: Apache-2.0
"""`make bench`: compares pyoci with runc, crun and a bare C floor, interleaved in one run.

__main__.py      the command: run, docs, instructions
machine.py       a mount namespace to measure in, caches, and facts of this machine
timer.py         one call of a program: its time, its exit
tools.py         the runtimes, and bundles for them
profile.py       podman's default seccomp profile as engines hand it to a runtime
verbs.py         each verb, seccomp, pods
memory.py        peaks, and what a container keeps
scale.py         with 10, 100 and 1,000 other containers; 100 containers in a row and at once
engines.py       podman run, ctr run
instructions.py  instructions in user space, step by step
stats.py         medians, spreads, ratios
table.py         the table of a terminal
docs.py          docs/benchmarks.md and its plots
floor.c peak.c   the floor; a parent that is smaller than what it measures
instructions.c   runs a program and counts its instructions
"""
