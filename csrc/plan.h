/* SPDX-License-Identifier: Apache-2.0
 *
 * The launch plan: what Python hands to pyoci-init, and what the two say to each other.
 *
 * This header is the only definition of both. The C programs include it; setup.py gives the same
 * text (without its # lines) to cffi, so Python sees the very same names, numbers and layouts.
 * So: enums and structs only, no macros.
 *
 * A plan is one sealed memfd:
 *
 *     struct plan_header | struct plan_op [op_count] | char strings [strings_size]
 *
 * Operations are executed in their order, without a branch. A text argument is an offset into the
 * strings, 0 is the empty text (strings[0] is NUL), and each text ends with NUL. A list (argv, an
 * environment, options) is a text that gives its length in decimal, then that many texts. A binary
 * argument (a seccomp program) is an offset in text[], a multiple of 8, with its length in num[].
 *
 * Slots are small integers for descriptors that init itself opens and uses later (a cloned mount tree).
 */
#ifndef PYOCI_PLAN_H
#define PYOCI_PLAN_H

#include <stdint.h>

enum plan_limits {
    PLAN_MAGIC = 0x70796f63, /* "pyoc" */
    PLAN_TEXTS = 4,
    PLAN_NUMS = 5,
    PLAN_SLOTS_MAX = 4096,
    SYNC_BYTES = 131072 /* the longest message on a sync socket */
};

/* Where each operation came from: its JSON pointer into config.json, for the error report. */
enum plan_text { PLAN_WHERE = 0, PLAN_PATH = 1, PLAN_DATA = 2, PLAN_MORE = 3 };

enum plan_kind {
    PLAN_NONE = 0,
    /* namespaces */
    PLAN_SETNS,        /* num: descriptor, CLONE_NEW* flags (a pidfd takes several) */
    PLAN_UNSHARE,      /* num: CLONE_NEW* flags */
    PLAN_TIME_OFFSETS, /* data: text for /proc/self/timens_offsets; makes and enters a time namespace */
    PLAN_CLONE,        /* num: CLONE_NEWPID or 0. The child goes on as the runtime's child; the parent ends */
    PLAN_SYNC,         /* num: enum sync_message to send; then waits for SYNC_GO or SYNC_STATE */
    PLAN_BECOME_ROOT,  /* uid and gid 0 of the new user namespace; num: 1 to clear the groups */
    PLAN_SETSID,
    PLAN_LOOPBACK, /* brings lo up */
    /* mounts before the root is pivoted; targets are resolved inside the root */
    PLAN_PROPAGATION, /* path (host view, "/" after the pivot); num: MS_* propagation, recursive */
    PLAN_ROOTFS,      /* path: clones the tree and mounts it over itself; every later target is in it */
    PLAN_OPEN_TREE,   /* path: source; num: slot, recursive, no-follow */
    PLAN_BIND,        /* path: target; num: slot, enum plan_mount_flag, attr_set, attr_clr, propagation */
    PLAN_MOUNT,       /* path: target; data: type; more: options, a list (the source is one);
                          num: -, enum plan_mount_flag, attr_set, attr_clr, propagation */
    PLAN_SET_ATTR,    /* path: a mount inside the root; num: -, flags, attr_set, attr_clr, propagation */
    PLAN_MKNOD,       /* path; num: mode with type, rdev, uid, gid */
    PLAN_SYMLINK,     /* path; data: what it points to */
    PLAN_MKDIR,       /* path and its parents inside the root; num: mode */
    PLAN_PIVOT_ROOT,  /* num: 1 for MS_MOVE and chroot (--no-pivot) */
    PLAN_MASK,        /* path: a file gets /dev/null, a directory an empty read-only tmpfs; absent is fine */
    PLAN_READONLY,    /* path: made read-only with all below it; absent is fine */
    PLAN_PROC_WRITE,  /* path below a private procfs; data: what is written */
    PLAN_HOSTNAME,    /* data */
    PLAN_DOMAINNAME,  /* data */
    /* the process */
    PLAN_HOOK,    /* path; data: argv; more: environment; num: timeout in ms (0: none). stdin: SYNC_STATE's payload */
    PLAN_CONSOLE, /* num: descriptor of the console socket, rows, columns, uid, 1 to bind it on /dev/console */
    PLAN_STDIO_OWNER, /* num: uid: descriptors 0-2 that are not /dev/null become the user's */
    PLAN_KEYRING,     /* data: name of the new session keyring */
    PLAN_RLIMIT,      /* num: resource, soft, hard */
    PLAN_ENVIRONMENT, /* data: the process's environment, a list */
    PLAN_HOME,        /* num: uid. Sets HOME from the container's passwd if the environment lacks it */
    PLAN_PROGRAM,     /* data: argv. Resolves argv[0] now, so that create reports it */
    PLAN_CWD,         /* path; num: 1 to leave a refusal to the next PLAN_CWD (after the user is set) */
    PLAN_BOUNDING,    /* num: mask of capabilities to keep */
    PLAN_USER,        /* data: list of decimal groups; num: uid, gid, umask or -1, 1 to keep the groups */
    PLAN_CREATED,     /* tells the runtime, closes the sync socket, waits for SYNC_START on the start socket */
    PLAN_SCHEDULER,   /* num: policy, nice, priority, flags; data: list of runtime, deadline, period */
    PLAN_IOPRIO,      /* num: the value for ioprio_set(2) */
    PLAN_PERSONALITY, /* num: the value for personality(2) */
    PLAN_NO_NEW_PRIVS,
    PLAN_SECCOMP, /* data: struct sock_filter[]; num: bytes, SECCOMP_FILTER_FLAG_* */
    PLAN_CAPS,    /* num: effective, permitted, inheritable, ambient */
    PLAN_EXEC,    /* execve of PLAN_PROGRAM; only 0-2 and the preserved descriptors stay open */
    PLAN_KINDS
};

enum plan_mount_flag {
    PLAN_MOUNT_RECURSIVE_ATTR = 1, /* AT_RECURSIVE for attr_set and attr_clr (rro and its kin) */
    PLAN_MOUNT_NOFOLLOW = 2,       /* dest-nofollow: the target's last part may not be a symlink */
    PLAN_MOUNT_FILE = 4,           /* make a missing target a file (else a directory) */
    PLAN_MOUNT_NO_SYMLINKS = 8,    /* no part of the target may be a symlink (proc, sysfs: CVE-2019-19921) */
    PLAN_MOUNT_ON_PROC = 16,       /* the target may lie on procfs (the lxcfs files); else that is refused */
    PLAN_MOUNT_PROC_SOURCE = 32,   /* a bind on /proc: its source must be procfs itself */
    PLAN_MOUNT_KEEP_MODE = 64,     /* a tmpfs without mode= takes the mode of the directory it covers */
    PLAN_MOUNT_RECURSIVE_PROPAGATION = 128,
    PLAN_MOUNT_COPY_UP = 256 /* a tmpfs begins with what the directory holds that it covers */
};

struct plan_op {
    uint32_t kind;
    uint32_t text[4]; /* PLAN_TEXTS */
    uint32_t reserved;
    int64_t num[5]; /* PLAN_NUMS */
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
    uint32_t op_count;
    uint32_t strings_size;
    struct plan_fds fds;
};

/* The talk of runtime and init, on a SOCK_SEQPACKET pair; each message is a sync_header and its payload.
 *
 *      create/exec                         init
 *      clone3 ------------------------------> starts, reads the plan
 *      cgroup, id maps
 *                  SYNC_GO ----------------->
 *                  <----------------- SYNC_CHILD    only after PLAN_CLONE; value: its PID on the host
 *                  SYNC_GO ----------------->
 *                  <---------------- SYNC_MOUNTED   mounts done, root not pivoted yet
 *      prestart and createRuntime hooks
 *                  SYNC_STATE --------------->      payload: the state, for createContainer hooks
 *                  <---------------- SYNC_CREATED
 *      state saved, pid file
 *                  SYNC_GO ----------------->       create ends here. exec has no SYNC_CREATED: the
 *                                                   end of the socket says that execve worked
 *
 *      start                               init (accepts on the start socket)
 *                  SYNC_START --------------->      payload: the state, for startContainer hooks
 *                  <--------------- SYNC_STARTING   this start is the one that counts; the socket's file is removed
 *                  SYNC_GO ----------------->       without it init ends: a start that died in between has no second
 *                  <------------------- (end)       execve worked
 *
 * run answers SYNC_CREATED with SYNC_START, and the end of this socket says that execve worked.
 * Where the runtime has nothing to do before an answer to init's first messages, it sends it ahead: init finds it.
 * Instead of any message of init's there may come SYNC_FAILED: value is errno, the payload
 * is struct sync_failure and its texts. Then init ends with status 1.
 */
enum sync_message {
    SYNC_NONE = 0,
    SYNC_GO,
    SYNC_CHILD,
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
    uint32_t kind;   /* enum plan_kind */
    uint32_t step;   /* lengths of the four texts that follow, without NUL: the system call or step, */
    uint32_t path;   /* the path it was about, */
    uint32_t where;  /* the JSON pointer, */
    uint32_t detail; /* and anything more (a hook's end, what a file really is) */
};

#endif
