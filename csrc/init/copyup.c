/* SPDX-License-Identifier: Apache-2.0
 *
 * tmpcopyup: copies the contents of the directory that a new tmpfs is going to cover.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "init.h"
#include "sys.h"

enum {
    DEPTH_MAX = 64, /* depth of directories, of which each keeps three descriptors open */
    ENTRY_COST = 4096
};

/* How many bytes may still be copied. The image decides how much there is, and the copy is in memory. Each entry counts
 * too. */
struct budget {
    uint64_t left;
    bool spent;
};

static bool spend(struct budget *budget, uint64_t bytes) {
    budget->spent = budget->spent || bytes > budget->left;
    budget->left -= budget->spent ? 0 : bytes;
    if (budget->spent)
        errno = EFBIG;
    return !budget->spent;
}

static int copy_range(int from, int to, off_t begin, off_t end) {
    ssize_t sent = 1;
    if (lseek(to, begin, SEEK_SET) < 0)
        return -1;
    while (begin < end && sent > 0) {
        off_t most = end - begin > 1 << 20 ? 1 << 20 : end - begin;
        do
            sent = sendfile(to, from, &begin, (size_t)most);
        while (sent < 0 && errno == EINTR);
    }
    return sent < 0 ? -1 : 0;
}

/* Copies the data and keeps holes (lseek(2)). A file system without holes reports that everything is data. */
static int copy_content(int from, int to, off_t size, struct budget *budget) {
    off_t at = 0;
    while (at < size) {
        off_t begin = lseek(from, at, SEEK_DATA);
        if (begin < 0 && errno != ENXIO)
            return -1;
        if (begin < 0 || begin >= size) /* only a hole is left */
            break;
        off_t end = lseek(from, begin, SEEK_HOLE);
        if (end < 0)
            return -1;
        end = end > size ? size : end;
        if (!spend(budget, (uint64_t)(end - begin)) || copy_range(from, to, begin, end) < 0)
            return -1;
        at = end;
    }
    return ftruncate(to, size);
}

/* O_NOFOLLOW | O_NONBLOCK: an entry may change its type meanwhile, if the directory is shared. */
static int copy_file(int from, int to, const char *name, const struct stat *st, struct budget *budget) {
    struct stat opened;
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (source < 0)
        return -1;
    int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int done = copy < 0 || fstat(source, &opened) < 0 ? -1 : 0;
    if (done == 0 && S_ISREG(opened.st_mode))
        done = copy_content(source, copy, opened.st_size, budget);
    if (done == 0)
        done = fchown(copy, st->st_uid, st->st_gid) < 0 || fchmod(copy, st->st_mode & 07777) < 0 ? -1 : 0;
    int error = errno;
    if (copy >= 0)
        close(copy);
    close(source);
    errno = error;
    return done;
}

static int copy_link(int from, int to, const char *name, const struct stat *st) {
    char target[4096];
    ssize_t length = readlinkat(from, name, target, sizeof(target) - 1);
    if (length < 0)
        return -1;
    target[length] = '\0';
    if (symlinkat(target, to, name) < 0)
        return -1;
    return fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
}

static int copy_entries(int from, int to, int depth, struct budget *budget);

static int copy_directory(int from, int to, const char *name, const struct stat *st, int depth, struct budget *budget) {
    if (mkdirat(to, name, 0700) < 0)
        return -1;
    int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int copy = source < 0 ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int done = copy < 0 ? -1 : copy_entries(source, copy, depth + 1, budget);
    if (done == 0)
        done = fchown(copy, st->st_uid, st->st_gid) < 0 || fchmod(copy, st->st_mode & 07777) < 0 ? -1 : 0;
    int error = errno;
    if (copy >= 0)
        close(copy);
    if (source >= 0)
        close(source);
    errno = error;
    return done;
}

/* Sockets, FIFOs and devices are not copied: their copies would not be connected to anything. */
static int copy_entry(int from, int to, const char *name, int depth, struct budget *budget) {
    struct stat st;
    if (!spend(budget, ENTRY_COST) || fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (S_ISDIR(st.st_mode))
        return copy_directory(from, to, name, &st, depth, budget);
    if (S_ISLNK(st.st_mode))
        return copy_link(from, to, name, &st);
    return S_ISREG(st.st_mode) ? copy_file(from, to, name, &st, budget) : 0;
}

static int copy_entries(int from, int to, int depth, struct budget *budget) {
    if (depth > DEPTH_MAX)
        return errno = ELOOP, -1;
    DIR *entries = fdopendir(fcntl(from, F_DUPFD_CLOEXEC, 0));
    if (!entries)
        return -1;
    const struct dirent *entry;
    int done = 0;
    while (done == 0 && (errno = 0, entry = readdir(entries)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            done = copy_entry(from, to, entry->d_name, depth, budget);
    int error = errno;
    closedir(entries);
    errno = error;
    return done < 0 || error ? -1 : 0;
}

int copy_up(struct init *init, int tree, const char *path, uint64_t most) {
    struct budget budget = {.left = most};
    char why[64];
    int from = open_in_root(init->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (from < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(init, "openat2", path);
    int to = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int done = to < 0 ? -1 : copy_entries(from, to, 0, &budget);
    snprintf(why, sizeof(why), "there is more to copy than %llu MiB", (unsigned long long)(most >> 20));
    if (done < 0)
        done = fail_with(init, "tmpcopyup", path, errno, budget.spent ? why : NULL);
    if (to >= 0)
        close(to);
    close(from);
    return done;
}
