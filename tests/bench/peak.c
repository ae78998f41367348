/* SPDX-License-Identifier: Apache-2.0
 *
 * peak FILE COMMAND [ARG...]: runs the command and writes its peak memory, in KiB, to FILE; exits as it does.
 *
 * A child begins with the peak of the program that it was spawned from (exec(2) keeps the highest of both in ru_maxrss),
 * so the benchmark's own interpreter would hide what a small runtime needs. This program is smaller than any of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    pid_t child;
    int status;
    struct rusage usage;
    if (argc < 3) {
        dprintf(2, "usage: peak FILE COMMAND [ARG...]\n");
        return 2;
    }
    int error = posix_spawn(&child, argv[2], NULL, NULL, argv + 2, environ);
    if (error) {
        dprintf(2, "peak: %s: %s\n", argv[2], strerror(error));
        return 127;
    }
    if (wait4(child, &status, 0, &usage) < 0)
        return 126;
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || dprintf(file, "%ld\n", usage.ru_maxrss) < 0) {
        dprintf(2, "peak: %s: %s\n", argv[1], strerror(errno));
        return 126;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
