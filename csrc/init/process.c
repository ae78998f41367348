/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns init into the user's process: program, identity, privileges, limits, and the execve.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "init.h"
#include "sys.h"

enum { CAPS_MAX = 64, GROUPS_MAX = 65536 };

/* Returns the value of a variable in the new environment. */
static const char *variable(char **env, const char *name) {
    size_t length = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
            return *env + length + 1;
    return NULL;
}

/* Returns 0 if this process may execute `path`, as execvp(3) would judge it, or else the errno. */
static int runnable(const char *path) {
    struct stat st;
    if (stat(path, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return EACCES;
    return 0;
}

static const char *search(struct init *init, const char *name, int *error) {
    const char *dirs = variable(init->env, "PATH");
    *error = ENOENT;
    if (!dirs)
        return NULL; /* the PATH of the runtime does not apply to the container */
    size_t room = strlen(dirs) + strlen(name) + 3;
    char *path = malloc(room);
    *error = path ? ENOENT : ENOMEM;
    while (path) {
        size_t length = strcspn(dirs, ":");
        /* An empty entry of PATH is the working directory (environ(7)). */
        snprintf(path, room, "%.*s%s%s", (int)length, dirs, length ? "/" : "./", name);
        int why = runnable(path);
        if (why == 0) {
            *error = 0;
            return path;
        }
        if (why == EACCES)
            *error = EACCES;
        if (dirs[length] == '\0')
            break;
        dirs += length + 1;
    }
    free(path);
    return NULL;
}

int op_environment(struct init *init, const struct op_environment *args) {
    init->env = list_array(args->env, 1);
    return init->env ? 0 : fail(init, "malloc", "");
}

/* Relative names start from the process's working directory, so PLAN_CHDIR comes first. The permissions of the user are
 * left to execve. */
int op_program(struct init *init, const struct op_program *args) {
    init->argv = list_array(args->args, 0);
    if (!init->argv)
        return fail(init, "malloc", "");
    const char *name = init->argv[0];
    int error = 0;
    if (strchr(name, '/')) {
        init->program = name;
        error = runnable(name);
    } else {
        init->program = search(init, name, &error);
    }
    return error ? fail_with(init, strchr(name, '/') ? "exec" : "search", name, error, NULL) : 0;
}

int op_execve(struct init *init, const struct op_execve *args) {
    (void)args;
    errno = 0;
    execve(init->program, init->argv, init->env);
    if (errno == 0) /* SECCOMP_RET_ERRNO with 0: nothing was done, and no error reported */
        return fail_with(init, "execve", init->program, EPERM, "the seccomp filter answers for it");
    return fail(init, "execve", init->program);
}

/* Returns the home directory of `uid` from the text of passwd: the sixth field. User names are ignored (CVE-2016-3697).
 * */
static bool find_home(char *passwd, long uid, char **home) {
    for (char *line = strtok(passwd, "\n"); line; line = strtok(NULL, "\n")) {
        char *fields[7];
        int count = 0;
        for (char *rest = line; rest && count < 7; count++)
            fields[count] = strsep(&rest, ":");
        char *end;
        if (count < 6 || !fields[2][0] || strtol(fields[2], &end, 10) != uid || *end)
            continue;
        *home = fields[5];
        return true;
    }
    return false;
}

/* The image's passwd may be a FIFO, a device, or endless. Only the first MiB of a regular file is read. */
int op_home(struct init *init, const struct op_home *args) {
    enum { PASSWD_MAX = 1 << 20 };
    if (variable(init->env, "HOME"))
        return 0;
    char *home = (char *)args->otherwise, *passwd = NULL;
    int fd = open_regular(init->root, "/etc/passwd");
    if (fd >= 0 && (passwd = malloc(PASSWD_MAX + 1))) {
        size_t size = 0;
        ssize_t got;
        while (size < PASSWD_MAX && (got = read(fd, passwd + size, PASSWD_MAX - size)) > 0)
            size += (size_t)got;
        passwd[size] = '\0';
        find_home(passwd, (long)args->uid, &home);
    }
    if (fd >= 0)
        close(fd);
    if (!*home)
        home = (char *)args->otherwise;
    char *entry = malloc(strlen(home) + 6);
    if (!entry)
        return fail(init, "malloc", "HOME");
    sprintf(entry, "HOME=%s", home);
    free(passwd);
    char **end = init->env;
    while (*end)
        end++;
    *end = entry; /* op_environment left room for one more */
    return 0;
}

/* A working directory outside the root is one of the host, reached through a descriptor that was left open
 * (CVE-2024-21626). getcwd then returns "(unreachable)". */
static int check_inside(struct init *init, const char *path) {
    char buffer[4096];
    if (syscall(SYS_getcwd, buffer, sizeof(buffer)) < 0)
        return fail(init, "getcwd", path);
    if (buffer[0] != '/')
        return fail_with(init, "chdir", path, ENOENT, "it lies outside of the container's root");
    return 0;
}

int op_chdir(struct init *init, const struct op_chdir *args) {
    if (init->cwd_done)
        return 0;
    if (chdir(args->path) < 0)
        return tolerates(args->deferred, errno) ? 0 : fail(init, "chdir", args->path);
    init->cwd_done = true;
    return check_inside(init, args->path);
}

int capset(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(effective >> (32 * i));
        data[i].permitted = (uint32_t)(permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
    }
    return (int)syscall(SYS_capset, &header, data);
}

int op_bounding(struct init *init, const struct op_bounding *args) {
    uint64_t keep = args->keep;
    for (int cap = 0; cap < CAPS_MAX; cap++) {
        if (keep >> cap & 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, cap) < 0) {
            if (errno == EINVAL)
                break; /* past the kernel's last capability */
            return fail(init, "PR_CAPBSET_DROP", "");
        }
    }
    return 0;
}

/* Sets the user's identity. All capabilities are kept for the steps that remain (seccomp without no_new_privs);
 * PLAN_CAPSET then reduces them. */
int op_user(struct init *init, const struct op_user *args) {
    static gid_t groups[GROUPS_MAX];
    uid_t uid = (uid_t)args->uid;
    gid_t gid = (gid_t)args->gid;
    size_t count;
    const char *item = list_first(args->groups, &count);
    if (count > GROUPS_MAX)
        return fail_with(init, "setgroups", "", EINVAL, NULL);
    for (size_t i = 0; i < count; i++, item += strlen(item) + 1)
        groups[i] = (gid_t)strtoul(item, NULL, 10);
    if (!args->keep_groups && setgroups(count, groups) < 0)
        return fail(init, "setgroups", "");
    if (args->umask >= 0)
        umask((mode_t)args->umask);
    if (prctl(PR_SET_KEEPCAPS, 1) < 0)
        return fail(init, "PR_SET_KEEPCAPS", "");
    if (setresgid(gid, gid, gid) < 0)
        return fail(init, "setresgid", "");
    if (setresuid(uid, uid, uid) < 0)
        return fail(init, "setresuid", "");
    if (prctl(PR_SET_KEEPCAPS, 0) < 0)
        return fail(init, "PR_SET_KEEPCAPS", "");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return fail(init, "capget", "");
    uint64_t permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    if (capset(permitted, permitted, 0) < 0)
        return fail(init, "capset", "");
    prctl(PR_SET_DUMPABLE, 0);
    return 0;
}

int op_capset(struct init *init, const struct op_capset *args) {
    if (capset(args->effective, args->permitted, args->inheritable) < 0)
        return fail(init, "capset", "");
    /* The ambient set is empty: op_user has left nothing inheritable, which it is a part of (capabilities(7)). */
    for (int cap = 0; cap < CAPS_MAX; cap++)
        if (args->ambient >> cap & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return fail_with(init, "PR_CAP_AMBIENT_RAISE", "", errno,
                             "an ambient capability must be permitted and inheritable too");
    return 0;
}

int op_no_new_privs(struct init *init, const struct op_no_new_privs *args) {
    (void)args;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(init, "PR_SET_NO_NEW_PRIVS", "") : 0;
}

int load_filter(const struct op_seccomp *args) {
    size_t count = args->program->size / sizeof(struct sock_filter);
    struct sock_fprog program = {.len = (unsigned short)count, .filter = (struct sock_filter *)args->program->bytes};
    if (count > BPF_MAXINSNS)
        return errno = E2BIG, -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned int)args->flags, &program);
}

int op_seccomp(struct init *init, const struct op_seccomp *args) {
    if (load_filter(args) == 0)
        return 0;
    const char *detail = errno == E2BIG ? "the filter is longer than the kernel takes" : NULL;
    return fail_with(init, "seccomp", "", errno, detail);
}

/* Raising a hard limit needs a capability in the host's user namespace, which init has only at the beginning. Lowering
 * it, and changing a soft limit, needs none. */
int op_setrlimit(struct init *init, const struct op_setrlimit *args) {
    struct rlimit limit;
    if (args->upwards) {
        if (getrlimit((int)args->resource, &limit) < 0)
            return fail(init, "getrlimit", args->label);
        if (limit.rlim_max >= args->hard)
            return 0;
    } else {
        limit.rlim_cur = args->soft;
    }
    limit.rlim_max = args->hard;
    return setrlimit((int)args->resource, &limit) < 0 ? fail(init, "setrlimit", args->label) : 0;
}

int op_stdio_owner(struct init *init, const struct op_stdio_owner *args) {
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_uid == (uid_t)args->uid)
            continue;
        /* Never the null device, which belongs to the whole host. */
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
            continue;
        if (fchown(fd, (uid_t)args->uid, (gid_t)-1) < 0 && !tolerates(args->tolerated, errno))
            return fail(init, "fchown", "stdio");
    }
    return 0;
}

int op_keyring(struct init *init, const struct op_keyring *args) {
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, args->keyring) < 0 && !tolerates(args->tolerated, errno))
        return fail(init, "keyctl", args->keyring);
    return 0;
}

int op_ioprio_set(struct init *init, const struct op_ioprio_set *args) {
    return syscall(SYS_ioprio_set, 1, 0, args->value) < 0 ? fail(init, "ioprio_set", "") : 0;
}

int op_personality(struct init *init, const struct op_personality *args) {
    return personality((unsigned long)args->domain) < 0 ? fail(init, "personality", "") : 0;
}

int op_sched_setattr(struct init *init, const struct op_sched_setattr *args) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = 48,
              .policy = (uint32_t)args->policy,
              .flags = args->flags,
              .nice = (int32_t)args->nice,
              .priority = (uint32_t)args->priority,
              .runtime = args->runtime,
              .deadline = args->deadline,
              .period = args->period};
    return syscall(SYS_sched_setattr, 0, &attr, 0) < 0 ? fail(init, "sched_setattr", "") : 0;
}
