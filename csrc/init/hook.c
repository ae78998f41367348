/* SPDX-License-Identifier: Apache-2.0
 *
 * createContainer and startContainer hooks: they run in the container's namespaces, so init runs them.
 */
#include <errno.h>
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
    int got;
    do
        got = poll(&ended, 1, timeout > 0 ? timeout : -1);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        kill(-pid, SIGKILL);
    if (ended.fd >= 0)
        close(ended.fd);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    return got != 0;
}

int op_hook(struct init *init, const struct plan_op *op) {
    const char *path = text(init, op, PLAN_PATH);
    char **argv = list_array(text(init, op, PLAN_DATA), 0), **env = list_array(text(init, op, PLAN_MORE), 0);
    int input = memory_file("hook-state", init->state);
    int errors = memory_file("hook-errors", NULL);
    int failed[2];
    if (!argv || !env || input < 0 || errors < 0 || pipe2(failed, O_CLOEXEC) < 0)
        return fail(init, "hook", path);
    pid_t pid = fork();
    if (pid < 0)
        return fail(init, "fork", path);
    if (pid == 0) {
        setpgid(0, 0);
        if (dup2(input, 0) == 0 && dup2(errors, 2) == 2) {
            close_range_(3, ~0U, CLOSE_RANGE_CLOEXEC);
            execve(path, argv, env);
        }
        int error = errno;
        _exit(write(failed[1], &error, sizeof(error)) < 0 ? 126 : 127);
    }
    setpgid(pid, pid);
    close(failed[1]);
    int error = 0, status = 0;
    if (read(failed[0], &error, sizeof(error)) < 0)
        error = 0;
    bool in_time = wait_for(pid, (int)op->num[0], &status);
    char last[200], why[300];
    take_errors(errors, last, sizeof(last));
    close(failed[0]);
    close(errors);
    close(input);
    free(argv);
    free(env);
    if (error)
        return fail_with(init, "execve", path, error, NULL);
    if (in_time && status == 0)
        return 0;
    if (!in_time)
        snprintf(why, sizeof(why), "no end after %d ms, killed", (int)op->num[0]);
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof(why), "killed by signal %d%s%s", WTERMSIG(status), *last ? ": " : "", last);
    else
        snprintf(why, sizeof(why), "exit status %d%s%s", WEXITSTATUS(status), *last ? ": " : "", last);
    return fail_with(init, "hook", path, 0, why);
}
