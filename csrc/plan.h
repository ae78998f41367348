/* SPDX-License-Identifier: Apache-2.0
 *
 * The launch plan: what Python hands to pyoci-init, and what the two say to each other.
 *
 * This header, with the list of operations beside it (operations.def), is the only definition of both. The C programs
 * include it; csrc/protocol.py makes the same numbers and layouts for Python (pyoci/protocol.py), and setup.py gives
 * its text (without its # lines) to cffi. So: enums and structs only, no macros.
 *
 * A plan is one sealed memfd:
 *
 *     struct plan_header | operations [operations_size] | strings [strings_size]
 *
 * Operations are executed in their order, without a branch. Each is a struct plan_op and one 64-bit word for each of
 * its fields. A text is an offset into the strings, 0 is the empty text (strings[0] is NUL), and each text ends with
 * NUL. A list (argv, an environment, options) is a text that gives its length in decimal, then that many texts. Bytes
 * (a seccomp program) are at an offset that is a multiple of 8: their number as 64 bits, then they.
 *
 * Slots are small integers for descriptors that init itself opens and uses later (a cloned mount tree).
 */
#ifndef PYOCI_PLAN_H
#define PYOCI_PLAN_H

#include <stdint.h>

enum plan_limits {
    PLAN_MAGIC = 0x70796f64, /* "pyod" */
    PLAN_SLOTS_MAX = 4096,
    SYNC_BYTES = 131072, /* the longest message on a sync socket */
    SYNC_WORDS = 4096    /* the memory for the last words */
};

enum plan_mount_flag {
    PLAN_MOUNT_RECURSIVE_ATTR = 1, /* AT_RECURSIVE for attr_set and attr_clr (rro and its kin) */
    PLAN_MOUNT_NOFOLLOW = 2,       /* dest-nofollow: the target's last part may not be a symlink */
    PLAN_MOUNT_FILE = 4,           /* make a missing target a file (else a directory) */
    PLAN_MOUNT_NO_SYMLINKS = 8,    /* no part of the target may be a symlink (proc, sysfs: CVE-2019-19921) */
    PLAN_MOUNT_ON_PROC = 16,       /* the target may lie on procfs (the lxcfs files); else that is refused */
    PLAN_MOUNT_PROC_SOURCE = 32,   /* a bind on /proc: its source must be procfs itself */
    PLAN_MOUNT_KEEP_MODE = 64,     /* a tmpfs without mode= takes the mode of the directory it covers */
    PLAN_MOUNT_RECURSIVE_PROPAGATION = 128
};

/* The head of each operation. */
struct plan_op {
    uint32_t kind;  /* enum plan_kind (operations.def) */
    uint32_t where; /* text: the JSON pointer into config.json of what asked for it, for the error report */
};

/* The descriptors that init is started with. 0-2 are the process's own; then --preserve-fds; then the plan
 * itself, whose number is init's argv[1]; then these. A number of -1 says that there is none. */
struct plan_fds {
    int32_t sync;     /* SOCK_SEQPACKET to the runtime, until PLAN_CREATED or, for exec, until execve */
    int32_t start;    /* SOCK_SEQPACKET, listening: where `start` connects */
    int32_t preserve; /* how many from 3 on are the caller's */
};

struct plan_header {
    uint32_t magic;
    uint32_t operations_size;
    uint32_t strings_size;
    uint32_t directory_mode; /* of directories and files that operations make, where they are missing */
    uint32_t file_mode;
    struct plan_fds fds;
};

/* The talk of runtime and init, on a SOCK_SEQPACKET pair; each message is a sync_header and its payload.
 *
 *      create/exec                         init
 *      clone3 ------------------------------> starts, reads the plan
 *                  SYNC_GO ----------------->       (lies there already)
 *                  <----------------- SYNC_ATTACH    only where a manager of cgroups has to put it there
 *                  SYNC_GO ----------------->
 *                  <------------------ SYNC_CHILD   after each PLAN_CLONE3, by the child: who sent it is the PID
 *                  <------------------- SYNC_MAPS   only in a new user namespace
 *      id maps
 *                  SYNC_GO ----------------->
 *                  <---------------- SYNC_MOUNTED   mounts done, root not pivoted yet
 *      prestart and createRuntime hooks
 *                  SYNC_STATE --------------->      payload: the state, for createContainer hooks
 *                  <---------------- SYNC_CREATED   exec: SYNC_STARTING
 *      rlimits, scheduling, state, pid file
 *                  SYNC_GO ----------------->       create ends here; of exec the end of the socket says
 *                                                   that execve worked
 *
 *      start                               init (accepts on the start socket)
 *                  SYNC_START --------------->      payload: the state, for startContainer hooks
 *                  <--------------- SYNC_STARTING   this start is the one that counts; the socket's file is removed
 *                  SYNC_GO ----------------->       without it init ends: a start that died in between has no second
 *                  <------------------- (end)       execve worked
 *
 * run answers SYNC_CREATED with SYNC_START, and the end of this socket says that execve worked.
 * Where the runtime has nothing to do before an answer to init's first messages, it sends it ahead: init finds it.
 * The kernel tells who sent a message (SO_PASSCRED). From the moment when a container can see the process it may as well
 * be the container that speaks: it can say that its own start failed, no more.
 * A seccomp filter may forbid init to send, and even to end. So, where there is one, the first SYNC_GO and SYNC_START take
 * a memfd along. What fails then is not sent but written to that memory, as the very SYNC_FAILED message; the runtime looks
 * there when it finds the end of the socket. The memory is the runtime's own: it takes no descriptor from a container.
 *
 * Instead of any message of init's there may come SYNC_FAILED: value is errno, the payload
 * is struct sync_failure and its texts. Then init ends with status 1.
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
    uint32_t path;   /* the path it was about, */
    uint32_t where;  /* the JSON pointer, */
    uint32_t detail; /* and anything more (a hook's end, what a file really is) */
};

#endif
