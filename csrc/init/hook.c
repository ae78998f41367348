/* SPDX-License-Identifier: Apache-2.0
 *
 * createContainer and startContainer hooks: they run in the container's namespaces, so init runs them.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "init.h"
#include "sys.h"

/* A file in memory that holds `data`, at its start. */
static int memory_file(const char *name, const char *data) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    size_t size = data ? strlen(data) : 0;
    if (fd >= 0 && size && (write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What the hook wrote to its standard error goes on to ours; its last line goes into the report. */
static void take_errors(int fd, char *last, size_t room) {
    char buffer[4096];
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t got = 0;
    for (off_t at = 0; at < size; at += got) {
        got = pread(fd, buffer, sizeof(buffer), at);
        if (got <= 0 || write(2, buffer, (size_t)got) < 0)
            break;
    }
    off_t from = size > (off_t)room - 1 ? size - (off_t)room + 1 : 0;
    got = pread(fd, last, room - 1, from);
    last[got > 0 ? got : 0] = '\0';
    while (got > 0 && last[got - 1] == '\n')
        last[--got] = '\0';
    char *line = strrchr(last, '\n');
    if (line)
        memmove(last, line + 1, strlen(line));
}

/* Waits for the hook, but not longer than `timeout` ms (0: as long as it takes). Its whole group is killed then. */
static bool wait_for(pid_t pid, int timeout, int *status) {
    struct pollfd ended = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    int got = 0;
    if (ended.fd >= 0) /* else the limit of descriptors is reached: poll would wait for nothing, and for ever */
        do
            got = poll(&ended, 1, timeout > 0 ? timeout : -1);
        while (got < 0 && errno == EINTR);
    if (got <= 0)
        kill(-pid, SIGKILL);
    if (ended.fd >= 0)
        close(ended.fd);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    return got > 0;
}

/* What a hook is started with: `failed` is where the child says why execve failed. */
struct hook {
    const struct op_seccomp *filter;
    char **argv, **env;
    int input, errors, failed[2];
};

static bool open_hook(const struct init *init, const struct op_hook *args, struct hook *hook) {
    hook->filter = args->filtered ? (const struct op_seccomp *)next_operation(init, PLAN_SECCOMP) : NULL;
    hook->argv = list_array(args->args, 0);
    hook->env = args->inherit ? init->env : list_array(args->env, 0);
    hook->input = memory_file("hook-state", init->state);
    hook->errors = memory_file("hook-errors", NULL);
    return hook->argv && hook->env && hook->input >= 0 && hook->errors >= 0 && pipe2(hook->failed, O_CLOEXEC) == 0;
}

static void close_hook(const struct init *init, struct hook *hook) {
    const int fds[] = {hook->input, hook->errors, hook->failed[0], hook->failed[1]};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(hook->argv);
    if (hook->env != init->env)
        free(hook->env);
}

static void become_hook(const struct hook *hook, const char *path) {
    setpgid(0, 0);
    if (dup2(hook->input, 0) == 0 && dup2(hook->errors, 2) == 2) {
        close_range_(3, ~0U, CLOSE_RANGE_CLOEXEC);
        if (!hook->filter || load_filter(hook->filter) == 0)
            execve(path, hook->argv, hook->env);
    }
    int error = errno;
    leave(write(hook->failed[1], &error, sizeof(error)) < 0 ? 126 : 127);
}

/* Runs it to its end; then `last` is its last line of errors. 0, or -1 with errno, which then is execve's or fork's. */
static int run_hook(struct hook *hook, const char *path, int timeout, bool *in_time, int *status, char *last,
                    size_t room) {
    int error = 0;
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0)
        become_hook(hook, path);
    setpgid(pid, pid);
    close(hook->failed[1]);
    hook->failed[1] = -1;
    if (read(hook->failed[0], &error, sizeof(error)) < 0)
        error = 0;
    *in_time = wait_for(pid, timeout, status);
    take_errors(hook->errors, last, room);
    return error ? (errno = error, -1) : 0;
}

int op_hook(struct init *init, const struct op_hook *args) {
    const char *path = args->path;
    int timeout = args->timeout > INT_MAX ? INT_MAX : (int)args->timeout, status = 0;
    struct hook hook = {.input = -1, .errors = -1, .failed = {-1, -1}};
    char last[200], why[300];
    bool in_time = false;
    if (!open_hook(init, args, &hook)) {
        int error = errno;
        close_hook(init, &hook);
        return fail_with(init, "hook", path, error, NULL);
    }
    int done = run_hook(&hook, path, timeout, &in_time, &status, last, sizeof(last));
    int error = errno;
    close_hook(init, &hook);
    if (done < 0)
        return fail_with(init, "execve", path, error, NULL);
    if (in_time && status == 0)
        return 0;
    if (!in_time && timeout <= 0)
        return fail_with(init, "pidfd_open", path, EMFILE, NULL);
    if (!in_time)
        snprintf(why, sizeof(why), "no end after %d ms, killed", timeout);
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof(why), "killed by signal %d%s%s", WTERMSIG(status), *last ? ": " : "", last);
    else
        snprintf(why, sizeof(why), "exit status %d%s%s", WEXITSTATUS(status), *last ? ": " : "", last);
    return fail_with(init, "hook", path, 0, why);
}
