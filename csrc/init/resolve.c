/* SPDX-License-Identifier: Apache-2.0
 *
 * Resolves paths inside the container's root. The kernel does it (openat2(2), RESOLVE_IN_ROOT), so that a symlink of
 * the image never leads out of the root, whatever is exchanged meanwhile. After that the descriptor is used, and never
 * the path again (CVE-2018-15664, CVE-2021-30465).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "init.h"
#include "sys.h"

enum { LINKS_MAX = 40 /* the limit of the kernel, path_resolution(7) */ };

int open_in_root(int root, const char *path, uint64_t flags, uint64_t resolve_flags) {
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve_flags};
    int fd;
    int tries = 128;
    do /* EAGAIN: a rename made a ".." unsafe to resolve; openat2(2) says to try again */
        fd = openat2(root, *path ? path : "/", &how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && --tries > 0);
    return fd;
}

int open_regular(int root, const char *path) {
    struct stat seen, opened;
    int place = open_in_root(root, path, O_PATH, 0);
    if (place < 0)
        return -1;
    bool regular = fstat(place, &seen) == 0 && S_ISREG(seen.st_mode);
    int fd = regular ? open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0) : -1;
    int error = regular ? errno : EINVAL;
    close(place);
    if (fd < 0)
        return errno = error, -1;
    /* It may have been exchanged meanwhile. */
    if (fstat(fd, &opened) < 0 || opened.st_dev != seen.st_dev || opened.st_ino != seen.st_ino) {
        close(fd);
        return errno = EINVAL, -1;
    }
    return fd;
}

static int open_existing(const struct init *init, const char *path, int flags) {
    return open_in_root(init->root, path, O_PATH, flags & PLAN_MOUNT_NO_SYMLINKS ? RESOLVE_NO_SYMLINKS : 0);
}

/* Moves `rest` to the start of its next component. Returns the length of that. */
static size_t next_part(const char **rest) {
    while (**rest == '/')
        (*rest)++;
    return strcspn(*rest, "/");
}

/* Creates `name` in `parent`, a directory or an empty file, and opens it. */
static int make_one(const struct init *init, int parent, const char *name, bool directory, const char **step) {
    int made = directory ? mkdirat(parent, name, (mode_t)init->header->directory_mode)
                         : openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY,
                                  (mode_t)init->header->file_mode);
    *step = directory ? "mkdirat" : "openat";
    if (made < 0)
        return -1;
    if (!directory)
        close(made);
    *step = "openat";
    return openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (directory ? O_DIRECTORY : 0));
}

static int make_path(const struct init *init, const char *path, int flags, enum resolve_create create, int links,
                     const char **step);

/* `name` in `parent` is a symlink whose target is missing. Creates the target, inside the root. */
static int make_behind_link(const struct init *init, int parent, const char *done, const char *name, const char *rest,
                            int flags, enum resolve_create create, int links, const char **step) {
    char target[4096], next[8192];
    ssize_t length = readlinkat(parent, name, target, sizeof(target) - 1);
    *step = "readlinkat";
    if (length < 0)
        return -1;
    target[length] = '\0';
    if (links >= LINKS_MAX || (flags & PLAN_MOUNT_NO_SYMLINKS))
        return errno = ELOOP, -1;
    int used = snprintf(next, sizeof(next), "%s/%s/%s", target[0] == '/' ? "" : done, target, rest);
    if (used < 0 || (size_t)used >= sizeof(next))
        return errno = ENAMETOOLONG, -1;
    return make_path(init, next, flags, create, links + 1, step);
}

static int make_path(const struct init *init, const char *path, int flags, enum resolve_create create, int links,
                     const char **step) {
    char done[4096] = "";
    size_t used = 0;
    *step = "openat2";
    int current = open_in_root(init->root, "/", O_PATH | O_DIRECTORY, 0);
    const char *rest = path;
    size_t length;
    while (current >= 0 && (length = next_part(&rest)) > 0) {
        char name[256];
        if (length >= sizeof(name) || used + length + 2 > sizeof(done)) {
            close(current);
            return errno = ENAMETOOLONG, -1;
        }
        memcpy(name, rest, length);
        name[length] = '\0';
        rest += length;
        bool last = rest[strspn(rest, "/")] == '\0';
        size_t before = used;
        used += (size_t)snprintf(done + used, sizeof(done) - used, "/%s", name);

        int next = open_existing(init, done, flags);
        if (next < 0 && errno == ENOENT && strcmp(name, "..") != 0) {
            next = make_one(init, current, name, !last || create == RESOLVE_DIRECTORY, step);
            if (next < 0 && errno == EEXIST) {
                done[before] = '\0';
                next = make_behind_link(init, current, done, name, rest, flags, create, links, step);
                close(current);
                return next;
            }
        }
        int saved = errno;
        close(current);
        errno = saved;
        current = next;
    }
    return current;
}

int resolve(const struct init *init, const char *path, int flags, enum resolve_create create, const char **step) {
    *step = "openat2";
    int fd = open_existing(init, path, flags);
    if (fd >= 0 || errno != ENOENT || create == RESOLVE_EXISTING)
        return fd;
    return make_path(init, path, flags, create, 0, step);
}

int resolve_parent(const struct init *init, const char *path, char *name, const char **step) {
    char parent[4096];
    size_t length = strnlen(path, sizeof(parent));
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/')
        start--;
    *step = "path";
    if (length - start == 0 || length - start > 255 || start >= sizeof(parent))
        return errno = EINVAL, -1;
    memcpy(name, path + start, length - start);
    name[length - start] = '\0';
    if (strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
        return errno = EINVAL, -1;
    memcpy(parent, path, start);
    parent[start] = '\0';
    return resolve(init, start ? parent : "/", 0, RESOLVE_DIRECTORY, step);
}
