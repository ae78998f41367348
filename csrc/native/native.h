/* SPDX-License-Identifier: Apache-2.0
 *
 * The C extension: what Python cannot express, or must not be interrupted in. setup.py passes this header (without its
 * # lines) to cffi after plan.h.
 *
 * Each function returns a value >= 0, or -errno. Nothing here prints, retries by itself or knows the spec.
 */
#ifndef PYOCI_NATIVE_H
#define PYOCI_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#include "plan.h"

/* The arguments of clone3 and of the child's execveat. */
struct spawn {
    int32_t init; /* pyoci-init, as made by init_memfd */
    int32_t plan; /* number of the plan's descriptor in the child: init's argument */
    int32_t sync; /* number of the sync socket in the child, which reports there if execveat fails */
    uint32_t count;
    const int *fds; /* fds[n] becomes descriptor n of the child; -1: closed there */
    int32_t pid;    /* out */
    int32_t pidfd;  /* out, close-on-exec */
};

/* clone3(2). The child only calls dup3, close_range and execveat; no Python runs there. */
int pyoci_spawn(struct spawn *args);

/* Returns a sealed memfd (memfd_create(2), F_SEAL_*) with a copy of the program at `path`, for execveat. */
int pyoci_init_memfd(const char *path);
/* Returns a sealed memfd with the plan. */
int pyoci_plan_memfd(const char *plan, uint32_t size);

/* The sync sockets. Timeouts are in ms, -1: none; -ETIMEDOUT when the time is over. `receive` returns the size of the
 * payload; 0 with message SYNC_NONE is the end of the socket. `sender`: the PID that the kernel reports,
 * or 0 if `fd` is not the first socket of a pair. */
int pyoci_socketpair(int *pair);
int pyoci_listen(const char *path);
int pyoci_connect(const char *path);
int pyoci_send(int fd, uint32_t message, int32_t value, const char *payload, uint32_t size, int passed);
int pyoci_report_memory(void);
int pyoci_receive(int fd, int timeout, struct sync_header *header, int32_t *sender, char *payload, uint32_t room);

/* A program of the host. args and env end with NULL; env NULL: the environment of this process. */
struct hook_program {
    const char *path;
    char **args;
    char **env;
    int input; /* descriptors that become 0, and 1 and 2 */
    int output;
};

/* Starts it in a new session without other descriptors. It is killed if this process dies. Returns its PID. */
int pyoci_spawn_hook(const struct hook_program *hook);

/* Returns the CLONE_NEW* type of the namespace behind a descriptor (namespaces(7)). */
int pyoci_ns_type(int fd);

/* pidfd_open(2), pidfd_send_signal(2). Waiting for the end of the process returns 0, or -ETIMEDOUT. */
int pyoci_pidfd_open(int pid);
int pyoci_pidfd_send_signal(int pidfd, int signum);
int pyoci_wait_readable(int fd, int timeout);

/* sched_setattr(2) of another process. */
struct scheduling { /* struct sched_attr of the kernel, first version */
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};
int pyoci_sched_setattr(int pid, struct scheduling *wanted);

/* bpf(2); attr is read and written in place. */
int pyoci_bpf(int command, char *attr, uint32_t size);

/* mount(2) and umount2(2), for mounts on the host (a pod's volumes). */
int pyoci_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int pyoci_umount(const char *target, int flags);

/* prctl(2) with one argument. */
int pyoci_prctl(int option, uint64_t argument);

/* Signals that are pending until they are read (signalfd(2)). A set has bit N-1 for signal N. `block` adds to the
 * blocked signals of this thread; `take` returns the number of the next pending one, or 0. */
int pyoci_block_signals(uint64_t set);
int pyoci_signalfd(uint64_t set);
int pyoci_take_signal(int fd);
/* Returns whether a signal is ignored (1 or 0), which a process inherits; resets a signal to its default action. */
int pyoci_signal_ignored(int signum);
int pyoci_signal_default(int signum);

/* poll(2) for reading. Returns 1 (first), 2 (second) or 3 (both). */
int pyoci_wait_two(int first, int second, int timeout);

#endif
