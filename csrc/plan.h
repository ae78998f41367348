/* SPDX-License-Identifier: Apache-2.0
 *
 * The launch plan, which Python passes to pyoci-init, and the protocol between the two.
 *
 * This header and the list of operations (operations.def) are the only definition of both. The C programs include it,
 * csrc/protocol.py makes the same numbers and layouts for Python (pyoci/protocol.py), and setup.py passes its text
 * (without its # lines) to cffi. So it holds enums and structs only, no macros.
 *
 * A plan is one sealed memfd:
 *
 *     struct plan_header | operations [operations_size] | strings [strings_size]
 *
 * Operations are executed in order, without branches. Each is a struct plan_op, followed by one 64-bit word per field.
 * A text is an offset into the strings. 0 is the empty text (strings[0] is NUL), and each text ends with NUL. A list
 * (argv, an environment, options) is a text with its length in decimal, followed by that many texts. Bytes (a seccomp
 * program) are at an offset that is a multiple of 8: a 64-bit size, followed by the bytes.
 *
 * Slots are small integers for descriptors that init opens and uses later (a cloned mount tree).
 */
#ifndef PYOCI_PLAN_H
#define PYOCI_PLAN_H

#include <stdint.h>

enum plan_limits {
    PLAN_MAGIC = 0x70796f64, /* "pyod" */
    PLAN_SLOTS_MAX = 4096,
    SYNC_BYTES = 131072,     /* the longest message on a sync socket */
    SYNC_REPORT_BYTES = 4096 /* the memory for a failure report */
};

enum plan_mount_flag {
    PLAN_MOUNT_RECURSIVE_ATTR = 1, /* AT_RECURSIVE for attr_set and attr_clr (rro and the like) */
    PLAN_MOUNT_FILE = 2,           /* create a missing target as a file (else as a directory) */
    PLAN_MOUNT_NO_SYMLINKS = 4,    /* no part of the target may be a symlink (proc, sysfs: CVE-2019-19921) */
    PLAN_MOUNT_ON_PROC = 8,        /* the target may be on procfs (the lxcfs files) */
    PLAN_MOUNT_PROC_SOURCE = 16,   /* a bind on /proc: the source must be a procfs */
    PLAN_MOUNT_KEEP_MODE = 32,     /* a tmpfs without mode= takes the mode of the directory it covers */
    PLAN_MOUNT_RECURSIVE_PROPAGATION = 64
};

/* The head of each operation. */
struct plan_op {
    uint32_t kind;  /* enum plan_kind (operations.def) */
    uint32_t where; /* text: JSON pointer to the property of config.json that asked for it, for errors */
};

/* The descriptors that init starts with: 0-2 of the process, then those of --preserve-fds, then the plan, whose number
 * is init's argv[1], then these. -1: none. */
struct plan_fds {
    int32_t sync;     /* SOCK_SEQPACKET to the runtime, until PLAN_CREATED or, for exec, until execve */
    int32_t start;    /* SOCK_SEQPACKET, listening: where `start` connects */
    int32_t preserve; /* how many from 3 on the container keeps */
};

struct plan_header {
    uint32_t magic;
    uint32_t operations_size;
    uint32_t strings_size;
    uint32_t directory_mode; /* of missing directories and files that operations create */
    uint32_t file_mode;
    struct plan_fds fds;
};

/* The protocol of runtime and init, on a SOCK_SEQPACKET pair. Each message is a sync_header and its payload.
 *
 *      create/exec                         init
 *      clone3 ------------------------------> starts, reads the plan
 *                  SYNC_GO ----------------->       (sent ahead)
 *                  <----------------- SYNC_ATTACH    only where a manager of cgroups has to move it
 *                  SYNC_GO ----------------->
 *                  <------------------ SYNC_CHILD   after each PLAN_CLONE3, by the child: the sender is the PID
 *                  <------------------- SYNC_MAPS   only in a new user namespace
 *      id maps
 *                  SYNC_GO ----------------->
 *                  <---------------- SYNC_MOUNTED   mounts done, root not pivoted yet
 *      prestart and createRuntime hooks
 *                  SYNC_STATE --------------->      payload: the state, for createContainer hooks
 *                  <---------------- SYNC_CREATED   exec: SYNC_STARTING
 *      rlimits, scheduling, state, pid file
 *                  SYNC_GO ----------------->       create ends here; for exec, the end of the socket
 *                                                   means that execve worked
 *
 *      start                               init (accepts on the start socket)
 *                  SYNC_START --------------->      payload: the state, for startContainer hooks
 *                  <--------------- SYNC_STARTING   the start completes; the socket's file is removed
 *                  SYNC_GO ----------------->       without it init exits: a start that died cannot be repeated
 *                  <------------------- (end)       execve worked
 *
 * run answers SYNC_CREATED with SYNC_START. The end of this socket then means that execve worked. The runtime sends an
 * answer ahead where nothing has to be done before it. The kernel identifies the sender of a message (SO_PASSCRED). As
 * soon as the container can see the process, a message may come from the container. All it can achieve is to make its
 * own start fail. A seccomp filter may forbid init to send, or even to exit. With a filter, the first SYNC_GO and
 * SYNC_START therefore carry a memfd. Failures are then written to that memory, as a SYNC_FAILED message, and the
 * runtime reads it at the end of the socket. The memory belongs to the runtime, which takes no descriptor from a
 * container.
 *
 * SYNC_FAILED may replace any message of init: value is the errno, and the payload is struct sync_failure with its
 * texts. Then init exits with status 1.
 */
enum sync_message {
    SYNC_NONE = 0,
    SYNC_GO,
    SYNC_ATTACH,
    SYNC_CHILD,
    SYNC_MAPS,
    SYNC_MOUNTED,
    SYNC_STATE,
    SYNC_CREATED,
    SYNC_START,
    SYNC_STARTING,
    SYNC_FAILED
};

struct sync_header {
    uint32_t message; /* enum sync_message */
    int32_t value;
    uint32_t size; /* of the payload */
};

struct sync_failure {
    uint32_t op_index;
    uint32_t kind;   /* enum plan_kind (operations.def) */
    uint32_t step;   /* lengths of the four texts that follow, without NUL: the system call or step, */
    uint32_t path;   /* its path, */
    uint32_t where;  /* the JSON pointer, */
    uint32_t detail; /* and details (the status of a hook, the type of a file) */
};

#endif
