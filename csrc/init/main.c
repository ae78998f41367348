/* SPDX-License-Identifier: Apache-2.0
 *
 * pyoci-init PLAN_FD: reads the plan, waits for SYNC_GO of the runtime, and executes one operation after the other.
 *
 * It is executed from a sealed memfd, with an empty environment and only the descriptors of plan_fds. What a container
 * finds behind /proc/1/exe can therefore not be written to, and is not a file of the host (CVE-2019-5736).
 */
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "sys.h"

int fail_with(struct init *init, const char *step, const char *path, int error, const char *detail) {
    init->failure.step = step;
    init->failure.error = error;
    strncpy(init->failure.path, path ? path : "", sizeof(init->failure.path) - 1);
    strncpy(init->failure.detail, detail ? detail : "", sizeof(init->failure.detail) - 1);
    return -1;
}

int fail(struct init *init, const char *step, const char *path) {
    return fail_with(init, step, path, errno, NULL);
}

void leave(int status) {
    syscall(SYS_exit_group, status);
    syscall(SYS_exit, status);
    for (;;)
        __builtin_trap();
}

/* Resets the signal mask and ignored signals of the caller, including the two or three signals that the C library
 * reserves, which only the system call can reset. */
static void reset_signals(void) {
    static const char as_default[64]; /* struct sigaction of the kernel: SIG_DFL, no flags, an empty mask */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, as_default, NULL, 8);
}

static void end_by(int signum) {
    leave(128 + signum);
}

/* Lets signals end a created container that end other programs. The first process of a PID namespace would ignore them
 * otherwise (pid_namespaces(7)). execve resets them to their default. Done here, before a seccomp filter can refuse it.
 * */
static void end_by_signals(void) {
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = end_by};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}

static int execute_one(struct init *init, const struct plan_op *op) {
    switch ((enum plan_kind)op->kind) {
#define OPERATION(KIND, name, fields)                                                                                  \
    case PLAN_##KIND:                                                                                                  \
        return op_##name(init, (const struct op_##name *)op);
#include "operations.def"
    case PLAN_NONE:
    case PLAN_KINDS:
        break;
    }
    return fail_with(init, "plan", "", ENOSYS, NULL);
}

static int execute(struct init *init) {
    while ((const char *)init->op < init->strings) {
        if (execute_one(init, init->op) < 0)
            return -1;
        init->op = (const struct plan_op *)((const char *)init->op + operation_size(init->op));
        init->index++;
    }
    return 0;
}

int main(int argc, char **argv) {
    static int slots[PLAN_SLOTS_MAX];
    static char *no_environment[2]; /* room for HOME, as in op_environment */
    static struct init init = {.root = -1, .procfs = -1, .slots = slots, .env = no_environment};

    /* Only a process with CAP_SYS_PTRACE may look into this one, and it finds no more than it has itself
     * (CVE-2016-9962, plan/order.py). init must not outlive a runtime that dies before the container is created; where
     * this setting is cleared, the end of the sync socket has the same effect. */
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "pyoci-init");
    if (argc != 2)
        return 2;
    int fd = atoi(argv[1]);
    if (fd < 3 || load_plan(&init, fd) < 0)
        return 2;
    close_range_((unsigned)(3 + init.header->fds.preserve), ~0U, CLOSE_RANGE_CLOEXEC);
    reset_signals();
    end_by_signals();
    setsid(); /* so that keys of the caller's terminal do not end it, and its children are found by their group */
    if (sync_receive(&init, init.report) == SYNC_GO) {
        execute(&init);
        sync_send_failure(&init);
    }
    leave(1);
}
