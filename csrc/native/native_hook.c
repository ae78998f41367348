/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts a hook in the runtime's namespaces. posix_spawn(3) could not make it end with the runtime.
 */
#include "native.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../init/sys.h"

/* Runs in the child after vfork(2), which shares our memory. Returns only if the program cannot be executed. */
static int become_hook(const struct hook_program *hook, pid_t runtime) {
    static const struct sigaction as_default = {.sa_handler = SIG_DFL};
    sigset_t none;

    sigemptyset(&none);
    /* A runtime that is killed cannot end its hook, so the kernel does. Processes that the hook leaves running are not
     * killed: PR_SET_PDEATHSIG is not inherited (prctl(2)). */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setsid() < 0)
        return errno;
    if (getppid() != runtime)
        _exit(127);
    sigaction(SIGPIPE, &as_default, NULL); /* CPython ignores these two */
    sigaction(SIGXFSZ, &as_default, NULL);
    if (dup2(hook->input, 0) < 0 || dup2(hook->output, 1) < 0 || dup2(hook->output, 2) < 0)
        return errno;
    /* Hooks do not get the descriptors that our caller passed, perhaps for the container's process. */
    if (close_range_(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return errno;
    execve(hook->path, hook->args, hook->env ? hook->env : environ);
    return errno;
}

int pyoci_spawn_hook(const struct hook_program *hook) {
    pid_t runtime = getpid();
    volatile int error = 0;
    pid_t pid = vfork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        error = become_hook(hook, runtime);
        _exit(127);
    }
    if (error == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -error;
}
