/* SPDX-License-Identifier: Apache-2.0
 *
 * createContainer and startContainer hooks. They run in the container's namespaces, so init runs them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "init.h"
#include "sys.h"

/* Returns a memfd with `data`, at its start. */
static int memory_file(const char *data) {
    int fd = memfd_create("hook-state", MFD_CLOEXEC);
    size_t size = data ? strlen(data) : 0;
    if (fd >= 0 && size && (write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The end of the hook's output. The rest is read and dropped, so that it fills neither memory nor a log. */
struct tail {
    size_t size;
    char bytes[4096];
};

/* Reads without waiting. Returns false at the end of the pipe. */
static bool read_tail(int fd, struct tail *tail) {
    char chunk[sizeof(tail->bytes)];
    ssize_t got = read(fd, chunk, sizeof(chunk));
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    size_t added = (size_t)got, kept = sizeof(tail->bytes) - added;
    if (kept > tail->size)
        kept = tail->size;
    memmove(tail->bytes, tail->bytes + tail->size - kept, kept);
    memcpy(tail->bytes + kept, chunk, added);
    tail->size = kept + added;
    return true;
}

/* Stores the last line of the output, cut to fit; always a string. */
static void last_line(const struct tail *tail, char *last, size_t room) {
    size_t size = tail->size;
    while (size > 0 && tail->bytes[size - 1] == '\n')
        size--;
    const char *before = memrchr(tail->bytes, '\n', size), *line = before ? before + 1 : tail->bytes;
    size -= (size_t)(line - tail->bytes);
    if (size > room - 1)
        size = room - 1;
    memcpy(last, line, size);
    last[size] = '\0';
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until a hook ends, or its time is over: `end` in ms, 0 for no limit. Only the hook counts, not processes that
 * it leaves running with its output. */
static bool ends(int pidfd, int output, int64_t end, struct tail *tail) {
    struct pollfd polled[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = output, .events = POLLIN}};
    for (int tries = 0; tries < TRIES;) {
        int64_t left = end ? end - now_ms() : -1;
        if (end && left <= 0)
            return false;
        int got = poll(polled, 2, left > INT_MAX ? INT_MAX : (int)left);
        if (got < 0 && errno != EINTR)
            return false;
        tries = got < 0 ? tries + 1 : 0;
        if (got > 0 && polled[1].revents && !read_tail(output, tail))
            polled[1].fd = -1;
        if (got > 0 && polled[0].revents)
            return true;
    }
    return false;
}

/* Waits for the hook, at most `timeout` ms (0: no limit), and then kills its process group. */
static bool wait_for(pid_t pid, int output, int timeout, int *status, struct tail *tail) {
    int pidfd = pidfd_open(pid, 0); /* fails at the limit of descriptors; poll would then wait for ever */
    bool ended = pidfd >= 0 && ends(pidfd, output, timeout > 0 ? now_ms() + timeout : 0, tail);
    if (!ended)
        kill(-pid, SIGKILL);
    if (pidfd >= 0)
        close(pidfd);
    for (int tries = 0; waitpid(pid, status, 0) < 0 && errno == EINTR && tries < TRIES; tries++)
        ;
    for (int chunks = 16; chunks > 0 && read_tail(output, tail); chunks--) /* the rest of the pipe: at most 64 KiB */
        ;
    return ended;
}

/* What a hook is started with. output: a pipe for its output; failed: a pipe through which the child reports why execve
 * failed. */
struct hook {
    const struct op_seccomp *filter;
    char **argv, **env;
    int input, output[2], failed[2];
};

static bool open_hook(const struct init *init, const struct op_hook *args, struct hook *hook) {
    hook->filter = args->filtered ? (const struct op_seccomp *)next_operation(init, PLAN_SECCOMP) : NULL;
    hook->argv = list_array(args->args, 0);
    hook->env = args->inherit ? init->env : list_array(args->env, 0);
    hook->input = memory_file(init->state);
    return hook->argv && hook->env && hook->input >= 0 && pipe2(hook->output, O_CLOEXEC) == 0 &&
           fcntl(hook->output[0], F_SETFL, O_NONBLOCK) == 0 && pipe2(hook->failed, O_CLOEXEC) == 0;
}

static void close_hook(const struct init *init, struct hook *hook) {
    const int fds[] = {hook->input, hook->output[0], hook->output[1], hook->failed[0], hook->failed[1]};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(hook->argv);
    if (hook->env != init->env)
        free(hook->env);
}

static void become_hook(const struct hook *hook, const char *path) {
    setpgid(0, 0);
    if (dup2(hook->input, 0) == 0 && dup2(hook->output[1], 1) == 1 && dup2(hook->output[1], 2) == 2) {
        close_range_(3, ~0U, CLOSE_RANGE_CLOEXEC);
        if (!hook->filter || load_filter(hook->filter) == 0)
            execve(path, hook->argv, hook->env);
    }
    int error = errno;
    leave(write(hook->failed[1], &error, sizeof(error)) < 0 ? 126 : 127);
}

/* Runs a hook to its end. Stores the last line of its output in `last`. Returns 0, or -1 with the errno of execve or
 * fork. */
static int run_hook(struct hook *hook, const char *path, int timeout, bool *in_time, int *status, char *last,
                    size_t room) {
    struct tail tail = {0};
    int error = 0;
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0)
        become_hook(hook, path);
    setpgid(pid, pid);
    close(hook->failed[1]);
    close(hook->output[1]);
    hook->failed[1] = hook->output[1] = -1;
    if (read(hook->failed[0], &error, sizeof(error)) < 0)
        error = 0;
    *in_time = wait_for(pid, hook->output[0], timeout, status, &tail);
    last_line(&tail, last, room);
    return error ? (errno = error, -1) : 0;
}

int op_hook(struct init *init, const struct op_hook *args) {
    const char *path = args->path;
    int timeout = args->timeout > INT_MAX ? INT_MAX : (int)args->timeout, status = 0;
    struct hook hook = {.input = -1, .output = {-1, -1}, .failed = {-1, -1}};
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
