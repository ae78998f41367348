/* SPDX-License-Identifier: Apache-2.0
 *
 * The places of this program and of the package beside it. setup.py defines PYOCI_LAYOUTS (rows of the table below).
 */
#ifndef PYOCI_PLACE_H
#define PYOCI_PLACE_H

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

/* Where the package may be, relative to the launcher's directory, and where its dependencies are then ("": with the
 * package). The first place that has the package counts. */
static const struct layout {
    const char *package;
    const char *dependencies;
} layouts[] = {PYOCI_LAYOUTS};

/* Stores the absolute path of this program and its directory. Returns 0, or 1 with a message. */
static int own_path(char *program, char *directory, size_t size) {
    ssize_t length = readlink("/proc/self/exe", program, size - 1);

    if (length <= 0)
        return fail("read /proc/self/exe", "cannot find its own path; is /proc mounted?");
    program[length] = 0;
    memcpy(directory, program, (size_t)length + 1);
    *strrchr(directory, '/') = 0;
    return 0;
}

static const struct layout *find_layout(const char *directory) {
    char path[PATH_MAX + 64];

    for (size_t i = 0; i < COUNT(layouts); i++) {
        snprintf(path, sizeof(path), "%s/%s/pyoci/__init__.py", directory, layouts[i].package);
        if (access(path, R_OK) == 0)
            return &layouts[i];
    }
    fail(directory, "no pyoci package beside this program; run make, or install it again");
    return NULL;
}

/* Stores directory/relative in path and resolves a leading "../"; stores relative alone if directory is empty. */
static void join(char *path, size_t size, const char *directory, const char *relative) {
    int length = (int)strlen(directory);

    for (; strncmp(relative, "../", 3) == 0; relative += 3)
        while (length > 0 && directory[--length] != '/')
            ;
    snprintf(path, size, "%.*s%s%s", length, directory, relative[0] == '/' ? "" : "/", relative);
}

#endif
