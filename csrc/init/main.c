/* SPDX-License-Identifier: Apache-2.0
 *
 * pyoci-init PLAN_FD: reads the plan, waits for the runtime's SYNC_GO, executes operation after operation.
 *
 * It is started from a sealed memfd (CVE-2019-5736: what a container finds behind /proc/1/exe can be neither
 * written nor is it a file of the host), with an empty environment and only the descriptors of plan_fds.
 */
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "sys.h"

static operation *const operations[PLAN_KINDS] = {
    [PLAN_SETNS] = op_setns,
    [PLAN_UNSHARE] = op_unshare,
    [PLAN_TIME_OFFSETS] = op_time_offsets,
    [PLAN_CLONE] = op_clone,
    [PLAN_SYNC] = op_sync,
    [PLAN_BECOME_ROOT] = op_become_root,
    [PLAN_SETSID] = op_setsid,
    [PLAN_LOOPBACK] = op_loopback,
    [PLAN_PROPAGATION] = op_propagation,
    [PLAN_ROOTFS] = op_rootfs,
    [PLAN_OPEN_TREE] = op_open_tree,
    [PLAN_BIND] = op_bind,
    [PLAN_MOUNT] = op_mount,
    [PLAN_SET_ATTR] = op_set_attr,
    [PLAN_MKNOD] = op_mknod,
    [PLAN_SYMLINK] = op_symlink,
    [PLAN_MKDIR] = op_mkdir,
    [PLAN_PIVOT_ROOT] = op_pivot_root,
    [PLAN_MASK] = op_mask,
    [PLAN_READONLY] = op_readonly,
    [PLAN_PROC_WRITE] = op_proc_write,
    [PLAN_HOSTNAME] = op_hostname,
    [PLAN_DOMAINNAME] = op_domainname,
    [PLAN_HOOK] = op_hook,
    [PLAN_CONSOLE] = op_console,
    [PLAN_STDIO_OWNER] = op_stdio_owner,
    [PLAN_KEYRING] = op_keyring,
    [PLAN_RLIMIT] = op_rlimit,
    [PLAN_ENVIRONMENT] = op_environment,
    [PLAN_HOME] = op_home,
    [PLAN_PROGRAM] = op_program,
    [PLAN_CWD] = op_cwd,
    [PLAN_BOUNDING] = op_bounding,
    [PLAN_USER] = op_user,
    [PLAN_CREATED] = op_created,
    [PLAN_SCHEDULER] = op_scheduler,
    [PLAN_IOPRIO] = op_ioprio,
    [PLAN_PERSONALITY] = op_personality,
    [PLAN_NO_NEW_PRIVS] = op_no_new_privs,
    [PLAN_SECCOMP] = op_seccomp,
    [PLAN_CAPS] = op_caps,
    [PLAN_EXEC] = op_exec,
};

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

/* The caller's signal mask and ignored signals are not the container's: neither are the two or three that the C library
 * keeps for itself, which only the system call resets. */
static void reset_signals(void) {
    static const char as_default[64]; /* struct sigaction of the kernel: SIG_DFL, no flags, an empty mask */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, as_default, NULL, 8);
}

static int execute(struct init *init) {
    for (init->index = 0; init->index < init->header->op_count; init->index++) {
        const struct plan_op *op = &init->ops[init->index];
        if (!operations[op->kind])
            return fail_with(init, "plan", "", ENOSYS, NULL);
        if (operations[op->kind](init, op) < 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    static int slots[PLAN_SLOTS_MAX];
    static char *no_environment[2]; /* room for HOME, as in op_environment */
    static struct init init = {.root = -1, .empty = -1, .slots = slots, .env = no_environment};

    /* Nobody in a joined namespace may attach to this process (CVE-2016-9962); and it must not outlive a runtime
     * that dies before the container is created. The end of the sync socket says the same where this is cleared. */
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "pyoci-init");
    /* In a new user namespace the ambient set brought the capabilities here; what runs later must not have them. */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (argc != 2)
        return 2;
    int fd = atoi(argv[1]);
    if (fd < 3 || load_plan(&init, fd) < 0)
        return 2;
    close_range_((unsigned)(3 + init.header->fds.preserve), ~0U, CLOSE_RANGE_CLOEXEC);
    reset_signals();
    if (sync_receive(&init, init.report) != SYNC_GO)
        return 1;
    execute(&init);
    sync_send_failure(&init);
    return 1;
}
