/* SPDX-License-Identifier: Apache-2.0
 *
 * A procfs for a PID namespace of which init is not a member.
 *
 * fsopen of proc takes the PID namespace of its caller, and needs CAP_SYS_ADMIN. If init called it as a member, the
 * container would see init with all its capabilities before the mounts are done (CVE-2016-9962). Linux 6.17 takes the
 * namespace as an option (proc.rst, "pidns"). On older kernels, a helper is a member for this one call. Its mount
 * namespace holds only the container's root, its only descriptor is a socket, and a filter allows nothing else.
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

/* The system calls that the helper and its child may use. */
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

/* Confines this process to the container's root with few privileges. Its next child joins the PID namespace. */
static int prepare(struct init *init, int socket) {
    if (fchdir(init->root) < 0 || unshare(CLONE_NEWNS) < 0) /* the working directory is then in the copy */
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

/* Returns the descriptor that arrives on a socket in time, or -1 with errno. */
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

/* Returns whether a child of this process would already be a member; there is no way back (plan/namespaces.py). */
static bool is_for_children(void) {
    char own[64], children[64];
    ssize_t first = readlink("/proc/self/ns/pid", own, sizeof(own));
    ssize_t second = readlink("/proc/self/ns/pid_for_children", children, sizeof(children));
    return first <= 0 || first != second || memcmp(own, children, (size_t)first) != 0;
}

/* The helper waits for its child, so that no zombie is left to the namespace's init. A tracer of that child may delay
 * it. */
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
    if (error == EINVAL) /* an older kernel */
        return context_of_helper(init);
    *step = "fsconfig";
    return errno = error, -1;
}
