/* SPDX-License-Identifier: Apache-2.0
 *
 * A procfs for a PID namespace of which init is not a member.
 *
 * Who calls fsopen for proc gets the processes of its own PID namespace, and has to have CAP_SYS_ADMIN. So init would have
 * to be seen there before its mounts are done, with all its capabilities (CVE-2016-9962). Linux 6.17 takes the namespace
 * as an option (proc.rst, "pidns"). Before, a helper is a member for the one call: in a mount namespace that holds the
 * container's root alone, with no descriptor but a socket, and under a filter that allows nothing else.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "init.h"
#include "sys.h"

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

enum { HELPER_SECONDS = 5, SYS_ADMIN = 21 };

int setns(int fd, int type);
int unshare(int flags);

int op_procfs_of(struct init *init, const struct op_procfs_of *args) {
    init->procfs = fcntl((int)args->descriptor, F_DUPFD_CLOEXEC, 3);
    return init->procfs < 0 ? fail(init, "fcntl", "") : 0;
}

/* What the helper and its child may call. */
static int confine(void) {
#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
    static const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_fsopen),
        ALLOW(SYS_sendmsg),
        ALLOW(SYS_clone),
        ALLOW(SYS_wait4),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
#undef ALLOW
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), (struct sock_filter *)code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* Into the container's root and no other, and so for the child into the PID namespace; with as little as will do. */
static int prepare(struct init *init, int socket) {
    if (fchdir(init->root) < 0 || unshare(CLONE_NEWNS) < 0) /* which takes the working directory along */
        return -1;
    init->root = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (pivot(init) < 0 || chdir("/") < 0 || setns(init->procfs, CLONE_NEWPID) < 0)
        return -1;
    if (dup2(socket, 0) < 0 || close_range_(1, ~0U, 0) < 0)
        return -1;
    return capset(1ULL << SYS_ADMIN, 1ULL << SYS_ADMIN, 0) < 0 ? -1 : confine();
}

static _Noreturn void help(struct init *init, int socket) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prepare(init, socket) < 0)
        leave(1);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        int context = fsopen("proc", FSOPEN_CLOEXEC);
        leave(context < 0 || send_descriptor(0, "proc", context) < 0);
    }
    if (pid > 0)
        syscall(SYS_wait4, pid, NULL, 0, NULL);
    leave(0);
}

/* The descriptor that a socket brings, within the time. -1 with errno. */
static int receive_descriptor(int socket) {
    const struct timeval limit = {.tv_sec = HELPER_SECONDS};
    char name[8];
    struct iovec part = {name, sizeof(name)};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int fd = -1;
    if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
        return -1;
    ssize_t got = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&msg);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    else if (got >= 0)
        errno = EPERM;
    return fd;
}

/* Whether a child would be a member already: then there is no way to be none (plan/namespaces.py). */
static bool is_for_children(void) {
    char own[64], children[64];
    ssize_t first = readlink("/proc/self/ns/pid", own, sizeof(own));
    ssize_t second = readlink("/proc/self/ns/pid_for_children", children, sizeof(children));
    return first <= 0 || first != second || memcmp(own, children, (size_t)first) != 0;
}

/* It collects its child, so that none is left to the namespace's own init; but whoever traces that child may hold it. */
static void end_helper(pid_t pid) {
    struct pollfd ended = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    if (ended.fd < 0 || poll(&ended, 1, HELPER_SECONDS * 1000) <= 0)
        kill(pid, SIGKILL);
    if (ended.fd >= 0)
        close(ended.fd);
    waitpid(pid, NULL, 0);
}

static int context_of_helper(struct init *init) {
    int pair[2];
    if (is_for_children())
        return errno = EPERM, -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        help(init, pair[1]);
    close(pair[1]);
    int context = pid < 0 ? -1 : receive_descriptor(pair[0]);
    int error = errno;
    close(pair[0]);
    if (pid > 0)
        end_helper(pid);
    return errno = error, context;
}

int open_procfs(struct init *init, const char **step) {
    *step = "fsopen";
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    if (context < 0 || init->procfs < 0)
        return context;
    if (fsconfig(context, FSCONFIG_SET_FD, "pidns", NULL, init->procfs) == 0)
        return context;
    int error = errno;
    close(context);
    if (error == EINVAL) /* no such option */
        return context_of_helper(init);
    *step = "fsconfig";
    return errno = error, -1;
}
