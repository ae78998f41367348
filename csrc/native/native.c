/* SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "../init/sys.h"

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE 0xb703 /* linux/nsfs.h: _IO(0xb7, 3) */
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3; says that the copy is to be executed where vm.memfd_noexec is set */
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);

static int result(long value) {
    return value < 0 ? -errno : (int)value;
}

/* All that may be written to no more: a container that opens /proc/PID/exe finds a file nobody can change. */
static int seal(int fd) {
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int new_memfd(const char *name, unsigned int flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 && errno == EINVAL && flags) /* before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int pyoci_init_memfd(const char *path) {
    int source = open(path, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        return -errno;
    int fd = new_memfd("pyoci-init", MFD_EXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0)
        got = sendfile(fd, source, NULL, 1 << 20);
    int error = errno;
    close(source);
    if (got == 0)
        return seal(fd);
    if (fd >= 0)
        close(fd);
    return -error;
}

int pyoci_plan_memfd(const char *plan, uint32_t size) {
    int fd = new_memfd("pyoci-plan", 0);
    if (fd < 0)
        return -errno;
    errno = EIO; /* stays so if the write is short */
    if (write(fd, plan, size) != (ssize_t)size) {
        int error = errno;
        close(fd);
        return -error;
    }
    return seal(fd);
}

/* A system call of the child, which shares our memory: errno is ours, and stays as it is. */
static long quiet(long number, long first, long second, long third, long fourth, long fifth) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = fourth;
    register long r8 __asm__("r8") = fifth;
    long value;

    __asm__ volatile("syscall"
                     : "=a"(value)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return value;
#else
    long value = syscall(number, first, second, third, fourth, fifth);
    return value < 0 ? -errno : value;
#endif
}

/* The first process of a user namespace has all capabilities in it, but no uid yet (the maps come later), and would
 * lose them at execve: the ambient set keeps them (capabilities(7)). */
static void keep_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (quiet(SYS_capget, (long)&header, (long)data, 0, 0, 0) < 0)
        return;
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    if (quiet(SYS_capset, (long)&header, (long)data, 0, 0, 0) < 0)
        return;
    for (int cap = 0; cap < 64; cap++)
        quiet(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

static __attribute__((noreturn)) void report(int fd, const char *step, int error) {
    struct {
        struct sync_failure failure;
        char step[16];
    } payload = {.failure = {.step = (uint32_t)strnlen(step, 16)}};
    memcpy(payload.step, step, payload.failure.step);
    pyoci_send(fd, SYNC_FAILED, error, (const char *)&payload, sizeof(payload.failure) + payload.failure.step);
    _exit(127);
}

/* Into the cgroups of v1, by its own hand: a thread that moves itself need not wait for the kernel's lock of all thread
 * groups (cgroup_procs_write_start), which takes some 10 ms when somebody else moves it. */
static void enter_cgroups(const struct spawn *args) {
    for (uint32_t i = 0; i < args->task_count; i++) {
        long written = quiet(SYS_write, args->tasks[i], (long)"0", 1, 0, 0);
        if (written != 1)
            report(args->fds[args->sync], "cgroup", (int)-written);
    }
}

/* fds[n] becomes n, in two steps, for the numbers may overlap: first all of them go above those that are to be. Gives init's
 * new number, or -errno. */
static int arrange(const struct spawn *args) {
    long base = (long)args->count, high[args->count], init = quiet(SYS_fcntl, args->init, F_DUPFD_CLOEXEC, base, 0, 0);

    if (init < 0)
        return (int)init;
    for (uint32_t i = 0; i < args->count; i++) {
        high[i] = args->fds[i] < 0 ? -1 : quiet(SYS_fcntl, args->fds[i], F_DUPFD_CLOEXEC, base, 0, 0);
        if (args->fds[i] >= 0 && high[i] < 0)
            return (int)high[i]; /* nothing is closed or replaced yet: the sync socket can still tell */
    }
    for (long i = 0; i < base; i++) {
        if (high[i] < 0)
            quiet(SYS_close, i, 0, 0, 0, 0);
        else if (quiet(SYS_dup3, high[i], i, 0, 0, 0) < 0)
            _exit(126);
    }
    if (quiet(SYS_close_range, base, ~0U, CLOSE_RANGE_CLOEXEC, 0, 0) < 0)
        _exit(126);
    return (int)init;
}

/* The child after clone3: arranges its descriptors and becomes init. Only async-signal-safe calls. */
static __attribute__((noreturn)) void become_init(const struct spawn *args) {
    char number[16], *argv[] = {"pyoci-init", number, NULL}, *env[] = {NULL};

    quiet(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    enter_cgroups(args);
    if (args->flags & CLONE_NEWUSER)
        keep_capabilities();
    int init = arrange(args);
    if (init < 0)
        report(args->fds[args->sync], "dup", init == -EINVAL ? EMFILE : -init); /* fcntl(2): base is above the limit */
    snprintf(number, sizeof(number), "%d", args->plan);
    report(args->sync, "execveat", (int)-quiet(SYS_execveat, init, (long)"", (long)argv, (long)env, AT_EMPTY_PATH));
}

#if defined(__x86_64__)
/* The child works in our memory, on a stack of its own, until its execveat, as after vfork(2); but we go on meanwhile,
 * for all that it reads is copied beside its stack. A fork would copy the interpreter's page tables, and each page
 * written after it. One child at a time: the next is cloned when this one has spoken as init, or ended. */
static pid_t clone_child(struct clone_args *clone, const struct spawn *args) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    static int numbers[512];
    static struct spawn copy;
    sigset_t all, before;
    pid_t pid;

    clone->flags |= CLONE_VM;
    if (args->count + args->task_count <= sizeof(numbers) / sizeof(numbers[0]) && !args->wait) {
        copy = *args;
        copy.fds = memcpy(numbers, args->fds, args->count * sizeof(int));
        copy.tasks = memcpy(numbers + args->count, args->tasks, args->task_count * sizeof(int));
        args = &copy;
    } else {
        clone->flags |= CLONE_VFORK;
    }
    clone->stack = (uint64_t)(uintptr_t)stack;
    clone->stack_size = sizeof(stack);
    sigfillset(&all); /* no handler of ours may run in the child */
    sigprocmask(SIG_SETMASK, &all, &before);
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov %[args], %%rdi\n\t"
                     "call *%[child]\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(pid)
                     : "a"(SYS_clone3), "D"(clone), "S"(sizeof(*clone)), [args] "r"(args), [child] "r"(become_init)
                     : "rcx", "r11", "memory", "cc");
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        errno = -pid;
        return -1;
    }
    return pid;
}
#else
static pid_t clone_child(struct clone_args *clone, const struct spawn *args) {
    pid_t pid = clone3(clone);
    if (pid == 0)
        become_init(args);
    return pid;
}
#endif

int pyoci_spawn(struct spawn *args) {
    int pidfd = -1;
    struct clone_args clone = {
        .flags = args->flags | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    if (args->cgroup >= 0) {
        clone.flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (uint64_t)args->cgroup;
    }
    pid_t pid = clone_child(&clone, args);
    if (pid < 0)
        return -errno;
    args->pid = pid;
    args->pidfd = pidfd;
    return 0;
}

int pyoci_socketpair(int *pair) {
    return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

/* A socket at a path of any length: by its directory's descriptor, as sun_path holds but 107 bytes. */
static int named_socket(const char *path, int (*use)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = strrchr(path, '/');
    if (!name)
        return -EINVAL;
    char directory[4096];
    if ((size_t)(name - path) >= sizeof(directory))
        return -ENAMETOOLONG;
    memcpy(directory, path, (size_t)(name - path));
    directory[name - path] = '\0';
    int parent = open(directory[0] ? directory : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int used = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d%s", parent, name);
    int error = 0;
    if (fd < 0)
        error = errno;
    else if (used < 0 || (size_t)used >= sizeof(address.sun_path))
        error = ENAMETOOLONG;
    else if (use(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        error = errno;
    close(parent);
    if (error && fd >= 0)
        close(fd);
    return error ? -error : fd;
}

int pyoci_listen(const char *path) {
    int fd = named_socket(path, bind);
    if (fd >= 0 && listen(fd, 16) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int pyoci_connect(const char *path) {
    return named_socket(path, connect);
}

int pyoci_send(int fd, uint32_t message, int32_t value, const char *payload, uint32_t size) {
    struct sync_header header = {.message = message, .value = value, .size = size};
    struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)payload, size}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    if (size > SYNC_BYTES)
        return -EMSGSIZE;
    return result(sendmsg(fd, &msg, MSG_NOSIGNAL));
}

int pyoci_receive(int fd, int timeout, struct sync_header *header, char *payload, uint32_t room) {
    struct iovec parts[2] = {{header, sizeof(*header)}, {payload, room}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    if (timeout >= 0) {
        int ready = pyoci_wait_readable(fd, timeout);
        if (ready < 0)
            return ready;
    }
    memset(header, 0, sizeof(*header));
    ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return -errno;
    if (got == 0) {
        header->message = SYNC_NONE;
        return 0;
    }
    if ((size_t)got < sizeof(*header) || header->size != (size_t)got - sizeof(*header))
        return -EBADMSG;
    return (int)header->size;
}

int pyoci_ns_type(int fd) {
    return result(ioctl(fd, NS_GET_NSTYPE));
}

int pyoci_pidfd_open(int pid) {
    return result(pidfd_open(pid, 0));
}

int pyoci_pidfd_send_signal(int pidfd, int signum) {
    return result(syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0));
}

int pyoci_wait_readable(int fd, int timeout) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int got = poll(&ready, 1, timeout);
    return got < 0 ? -errno : got == 0 ? -ETIMEDOUT : 0;
}

int pyoci_bpf(int command, char *attr, uint32_t size) {
    return result(syscall(SYS_bpf, command, attr, size));
}

int pyoci_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data) {
    return result(mount(source, target, type, (unsigned long)flags, data));
}

int pyoci_umount(const char *target, int flags) {
    return result(syscall(SYS_umount2, target, flags));
}

/* A bare call: the kernel's set has 64 bits, that of libc is longer. */
int pyoci_block_signals(uint64_t set) {
    return result(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, sizeof(set)));
}

int pyoci_signalfd(uint64_t set) {
    return result(syscall(SYS_signalfd4, -1, &set, sizeof(set), SFD_CLOEXEC | SFD_NONBLOCK));
}

int pyoci_take_signal(int fd) {
    struct signalfd_siginfo taken;
    if (read(fd, &taken, sizeof(taken)) < 0)
        return errno == EAGAIN ? 0 : -errno;
    return (int)taken.ssi_signo;
}

int pyoci_signal_ignored(int signum) {
    struct sigaction action;
    if (sigaction(signum, NULL, &action) < 0)
        return -errno;
    return action.sa_handler == SIG_IGN;
}

int pyoci_signal_default(int signum) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    return result(sigaction(signum, &action, NULL));
}

int pyoci_wait_two(int first, int second) {
    struct pollfd ready[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    if (poll(ready, 2, -1) < 0)
        return -errno;
    return (ready[0].revents ? 1 : 0) | (ready[1].revents ? 2 : 0);
}
