/* SPDX-License-Identifier: Apache-2.0
 *
 * clone3, and what its child does until it executes pyoci-init: it arranges its descriptors.
 *
 * The child shares our memory until its execveat, as after vfork(2), so that no page tables are copied. But we continue
 * meanwhile. So the child has a stack of its own, works on copies, and calls nothing of libc, whose errno and locks are
 * ours. It also stays in our cgroup, because the OOM killer kills all processes that share memory. pyoci-init, which
 * has memory of its own, enters the container's cgroup.
 */
#include "native.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../init/sys.h"

/* What the child reads. It may write to `args.fds`. */
struct child {
    struct spawn args;
    char number[12]; /* the argument of init */
    int *fds;
};

/* Makes a system call without libc. Returns the value, or -errno. */
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
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register long x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    register long x3 __asm__("x3") = fourth;
    register long x4 __asm__("x4") = fifth;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory", "cc");
    return x0;
#else
#error "the system call of this architecture is to be written here"
#endif
}

/* Not declared noreturn: AddressSanitizer would take this stack for a damaged one. */
static void leave(int status) {
    quiet(SYS_exit_group, status, 0, 0, 0, 0);
}

/* Clones a child that calls `run(child)` on the stack of `clone`. Returns its PID or -errno. */
static long clone_child(struct clone_args *clone, void (*run)(struct child *), struct child *child) {
#if defined(__x86_64__)
    long pid;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov %[child], %%rdi\n\t"
                     "call *%[run]\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(pid)
                     : "a"(SYS_clone3), "D"(clone), "S"(sizeof(*clone)), [child] "r"(child), [run] "r"(run)
                     : "rcx", "r11", "memory", "cc");
    return pid;
#else
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)clone;
    register long x1 __asm__("x1") = sizeof(*clone);

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x0, %[child]\n\t"
                     "mov x29, xzr\n\t"
                     "blr %[run]\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), [child] "r"(child), [run] "r"(run)
                     : "memory", "cc");
    return x0;
#endif
}

/* Reports a failure through the sync socket, and exits. */
static void report(int fd, const char *step, uint32_t length, long error) {
    struct {
        struct sync_header header;
        struct sync_failure failure;
        char step[8];
    } message = {.header = {.message = SYNC_FAILED, .value = (int32_t)error}, .failure = {.step = length}};
    struct iovec part = {&message, sizeof(message.header) + sizeof(message.failure) + length};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

    message.header.size = sizeof(message.failure) + length;
    for (uint32_t i = 0; i < length; i++)
        message.step[i] = step[i];
    quiet(SYS_sendmsg, fd, (long)&msg, MSG_NOSIGNAL, 0, 0);
    leave(127);
}

/* Moves a descriptor below `base` above it, to make room for the final ones. */
static long lift(int fd, long base) {
    return fd >= base ? fd : quiet(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base, 0, 0);
}

/* Moves fds[n] to n. Descriptors whose numbers are needed are moved away first, so that the order does not matter.
 * Returns 0, or -errno before anything is closed or replaced, so that the sync socket still works. */
static long arrange(struct child *child) {
    long base = child->args.count, init = lift(child->args.init, base);
    int *fds = child->fds;

    if (init < 0)
        return init;
    child->args.init = (int32_t)init;
    for (int i = 0; i < base; i++) {
        long moved = fds[i] < 0 || fds[i] == i ? fds[i] : lift(fds[i], base);
        if (fds[i] >= 0 && moved < 0)
            return moved;
        fds[i] = (int)moved;
    }
    for (int i = 0; i < base; i++) {
        if (fds[i] < 0)
            quiet(SYS_close, i, 0, 0, 0, 0);
        else if (quiet(fds[i] == i ? SYS_fcntl : SYS_dup3, fds[i], fds[i] == i ? F_SETFD : i, 0, 0, 0) < 0)
            leave(126);
    }
    if (quiet(SYS_close_range, base, ~0U, CLOSE_RANGE_CLOEXEC, 0, 0) < 0)
        leave(126);
    return 0;
}

static void become_init(struct child *child) {
    char *argv[] = {"pyoci-init", child->number, NULL}, *env[] = {NULL};
    int sync = child->args.sync;

    quiet(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    int told = child->fds[sync];
    long error = arrange(child);
    if (error < 0)
        report(told, "dup", 3, error == -EINVAL ? EMFILE : -error); /* fcntl(2): base exceeds the limit */
    report(sync, "execve", 6, -quiet(SYS_execveat, child->args.init, (long)"", (long)argv, (long)env, AT_EMPTY_PATH));
}

/* A copy of the caller's arguments, which it may free when we return. There is one child at a time: the next one is
 * cloned after this one has sent a message as init, or has ended. */
static struct child *copy(const struct spawn *args) {
    static struct child child;
    static uint32_t room;

    if (args->count > room) {
        int *larger = realloc(child.fds, args->count * sizeof(int));
        if (!larger)
            return NULL;
        child.fds = larger;
        room = args->count;
    }
    child.args = *args;
    for (uint32_t i = 0; i < args->count; i++)
        child.fds[i] = args->fds[i];
    snprintf(child.number, sizeof(child.number), "%d", args->plan);
    return &child;
}

int pyoci_spawn(struct spawn *args) {
    static char stack[1 << 14] __attribute__((aligned(16)));
    int pidfd = -1;
    sigset_t all, before;
    struct child *child = copy(args);
    struct clone_args clone = {
        .flags = CLONE_PIDFD | CLONE_VM,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof(stack),
    };

    if (!child)
        return -ENOMEM;
    sigfillset(&all); /* our handlers must not run in the child */
    sigprocmask(SIG_SETMASK, &all, &before);
    long pid = clone_child(&clone, become_init, child);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return (int)pid;
    args->pid = (int32_t)pid;
    args->pidfd = pidfd;
    return 0;
}
