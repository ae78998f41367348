/* SPDX-License-Identifier: Apache-2.0
 *
 * pyoci-init: executes a launch plan (plan.h) inside the container's namespaces.
 *
 * Each operation (operations.def) has one function. It returns 0, or fail(...), which records step, path and errno and
 * returns -1. Only main.c reports and exits. Nothing here prints, and nothing knows config.json.
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
    const struct plan_op *op; /* the current operation, */
    uint32_t index;           /* and its index */
    const char *strings;
    int report;          /* where SYNC_FAILED is sent: the sync socket, later the connection of start */
    int root;            /* O_PATH on the container's root; every in-root path is resolved below it */
    int procfs;          /* the PID namespace for procfs, or -1: init's own */
    int *slots;          /* descriptors of detached mounts, PLAN_SLOTS_MAX */
    char *state;         /* the state document for hooks, NUL-terminated */
    char *report_memory; /* SYNC_REPORT_BYTES of memory for a failure report, or NULL */
    char **argv;         /* PLAN_PROGRAM */
    char **env;
    const char *program; /* argv[0], resolved */
    bool empty_attached; /* the mount that masks directories is attached */
    bool cwd_done;       /* else the next PLAN_CHDIR tries again, with the user's identity */
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

enum { TRIES = 100 }; /* of a call that fails with EINTR: a seccomp filter may return that for ever */

/* Returns whether this errno is among the tolerated ones of the operation. */
static inline bool tolerates(uint64_t errnos, int error) {
    return error > 0 && error < 64 && errnos >> error & 1;
}

/* Ends this process, even if a seccomp filter forbids exit. */
_Noreturn void leave(int status);

/* plan.c */
/* Maps the plan, checks it, and closes the descriptor. -1 with errno. */
int load_plan(struct init *init, int fd);
/* Returns the size of an operation in the plan. The next one follows. */
size_t operation_size(const struct plan_op *op);
/* Returns the next operation of this kind, or NULL. */
const struct plan_op *next_operation(const struct init *init, enum plan_kind kind);
/* Returns the first text of a list (plan.h) and stores their number. Each next text follows the NUL. */
const char *list_first(const char *list, size_t *count);
/* Returns a list as a NULL-terminated array with room for `extra` more, or NULL without memory. */
char **list_array(const char *list, size_t extra);

/* sync.c */
int sync_send(int fd, enum sync_message message, int32_t value, const void *payload, size_t size);
/* Reports the failure, over the socket or in the shared memory. */
int sync_send_failure(const struct init *init);
/* Sends a descriptor with a text that describes it. -1 with errno. */
int send_descriptor(int socket, const char *name, int fd);
/* Receives the next message. Its payload, if any, becomes init->state. Returns the message, 0 at the end of the socket,
 * or -1 with errno. */
int sync_receive(struct init *init, int fd);

/* resolve.c */
enum resolve_create { RESOLVE_EXISTING, RESOLVE_DIRECTORY, RESOLVE_FILE };
/* Returns an O_PATH descriptor of `path` inside the root. flags: plan_mount_flag (NO_SYMLINKS); create:
 * whether to create what is missing. -1 with errno; `step` is then the system call that failed. */
int resolve(const struct init *init, const char *path, int flags, enum resolve_create create, const char **step);
/* The same for the parent of `path`. Stores the last part in `name`, a buffer of at least 256 bytes. */
int resolve_parent(const struct init *init, const char *path, char *name, const char **step);
int open_in_root(int root, const char *path, uint64_t flags, uint64_t resolve_flags);
/* Opens a regular file in the root for reading. Anything else is not opened: -1 with EINVAL. */
int open_regular(int root, const char *path);

/* procfs.c: fsopen(2) of proc, for the PID namespace of PLAN_PROCFS_OF. -1 with errno and step. */
int open_procfs(struct init *init, const char **step);

/* process.c: loads a filter; sets the capabilities. 0, or -1 with errno. */
int load_filter(const struct op_seccomp *args);
int capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);

/* rootfs.c: makes init->root the root of this mount namespace and removes the old one. 0, or -1 by fail(). */
int pivot(struct init *init);

/* copyup.c: copies the contents of `path` in the root to the new mount `tree`, at most `most` bytes. */
int copy_up(struct init *init, int tree, const char *path, uint64_t most);

/* mount.c, used by rootfs.c and console.c too */
enum { PROC_MAGIC = 0x9fa0 }; /* of statfs(2) */
int attach(struct init *init, int tree, const char *path, int flags, enum resolve_create create);
int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, int flags);

#endif
