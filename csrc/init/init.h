/* SPDX-License-Identifier: Apache-2.0
 *
 * pyoci-init: executes a launch plan (plan.h) inside the container's namespaces.
 *
 * One function an operation (operations.def). Each returns 0, or fail(...), which notes step, path and errno and
 * returns -1; only main.c reports and ends. Nothing here prints, and nothing knows config.json.
 */
#ifndef PYOCI_INIT_H
#define PYOCI_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operations.h"
#include "plan.h"

struct init {
    const struct plan_header *header;
    const struct plan_op *op; /* the operation that runs now, */
    uint32_t index;           /* and how many were before it */
    const char *strings;
    int report;  /* where SYNC_FAILED goes: the sync socket, later start's connection */
    int root;    /* O_PATH on the container's root; every in-root path is resolved below it */
    int procfs;  /* of which PID namespace a procfs is to be, or -1: init's own */
    int *slots;  /* descriptors of mounts that are not attached yet, PLAN_SLOTS_MAX */
    char *state; /* the state document for hooks, NUL-terminated */
    char *words; /* SYNC_WORDS of memory for the report of a failure, or NULL */
    char **argv; /* PLAN_PROGRAM */
    char **env;
    const char *program; /* argv[0], resolved */
    bool empty_attached; /* the mount that masks directories is at its first place */
    bool cwd_done;       /* else the next PLAN_CHDIR is to try again, with the user's identity */
    struct {
        const char *step;
        int error;
        char path[512];
        char detail[512];
    } failure;
};

/* main.c */
int fail(struct init *init, const char *step, const char *path);
int fail_with(struct init *init, const char *step, const char *path, int error, const char *detail);

enum { TRIES = 100 }; /* of a call that says EINTR: a seccomp filter may say so for ever */

/* Whether the operation said that this errno is no failure. */
static inline bool tolerates(uint64_t errnos, int error) {
    return error > 0 && error < 64 && errnos >> error & 1;
}

/* Ends this process, whatever a seccomp filter says of exit. */
_Noreturn void leave(int status);

/* plan.c */
/* Maps the plan; what it says is whole then. The descriptor is closed, the mapping stays. -1 with errno. */
int load_plan(struct init *init, int fd);
/* The bytes that an operation takes in the plan: the next one begins behind them. */
size_t operation_size(const struct plan_op *op);
/* The next operation of this kind, or NULL. */
const struct plan_op *next_operation(const struct init *init, enum plan_kind kind);
/* The first text of a list (plan.h) and how many there are; each next one begins after the NUL. */
const char *list_first(const char *list, size_t *count);
/* A list as a NULL-terminated array, with room for `extra` more; NULL when memory is short. */
char **list_array(const char *list, size_t extra);

/* sync.c */
int sync_send(int fd, enum sync_message message, int32_t value, const void *payload, size_t size);
/* Reports the failure, by the socket or in the memory for the last words. */
int sync_send_failure(const struct init *init);
/* Sends a descriptor, with a text that says what it is. -1 with errno. */
int send_descriptor(int socket, const char *name, int fd);
/* Takes the next message; its payload, if any, becomes init->state. Returns the message, 0 at the end
 * of the socket, -1 with errno. */
int sync_receive(struct init *init, int fd);

/* resolve.c */
enum resolve_create { RESOLVE_EXISTING, RESOLVE_DIRECTORY, RESOLVE_FILE };
/* An O_PATH descriptor of `path` inside the root; `flags` are plan_mount_flags (NOFOLLOW, NO_SYMLINKS). What is
 * missing is made if asked. -1 with errno; `step` names the system call that said so. */
int resolve(const struct init *init, const char *path, int flags, enum resolve_create create, const char **step);
/* The same for the parent of `path`; `name` is its last part, in a buffer of the caller's of at least 256 bytes. */
int resolve_parent(const struct init *init, const char *path, char *name, const char **step);
int open_in_root(int root, const char *path, uint64_t flags, uint64_t resolve_flags);
/* A regular file in the root, to be read; anything else is not opened: -1 with EINVAL. */
int open_regular(int root, const char *path);

/* procfs.c: fsopen(2) of proc, for the PID namespace that PLAN_PROCFS_OF named. -1 with errno and step. */
int open_procfs(struct init *init, const char **step);

/* process.c: loads a filter; sets the three sets. 0, or -1 with errno. */
int load_filter(const struct op_seccomp *args);
int capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);

/* rootfs.c: makes init->root the root of this mount namespace, in which nothing else stays. 0, or -1 by fail(). */
int pivot(struct init *init);

/* copyup.c: copies what `path` in the root holds to the new mount `tree`, but no more than `most` bytes. */
int copy_up(struct init *init, int tree, const char *path, uint64_t most);

/* mount.c, used by rootfs.c and console.c too */
enum { PROC_MAGIC = 0x9fa0 }; /* of statfs(2) */
int attach(struct init *init, int tree, const char *path, int flags, enum resolve_create create);
int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, int flags);

#endif
