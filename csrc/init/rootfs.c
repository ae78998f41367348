/* SPDX-License-Identifier: Apache-2.0
 *
 * The root file system: makes it a mount, pivots to it, and masks paths or makes them read-only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "init.h"
#include "sys.h"

int setns(int fd, int type);

enum { SYSFS_MAGIC = 0x62656572 };

/* The head of struct statx (statx(2)). Some C libraries declare it, some do not, and linux/stat.h conflicts with those.
 * */
struct mount_root {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint64_t rest[30];
};
#define MOUNT_ROOT 0x2000 /* STATX_ATTR_MOUNT_ROOT */

/* pivot_root(2) refuses a root whose parent mount is shared. To find the parent, walk up to the first directory that is
 * the root of a mount. */
static int make_parent_private(const char *path) {
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0) {
        struct mount_root stx;
        if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, 0, &stx) < 0)
            break;
        if (stx.attributes & MOUNT_ROOT) {
            int done = set_attributes(fd, 0, 0, MS_PRIVATE, 0);
            close(fd);
            return done;
        }
        int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = up;
    }
    return -1;
}

int op_rootfs(struct init *init, const struct op_rootfs *args) {
    const char *path = args->path;
    if (args->parent_private && make_parent_private(path) < 0)
        return fail(init, "mount_setattr", path);
    int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return fail(init, "open_tree", path);
    if (move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail(init, "move_mount", path);
    init->root = tree;
    return 0;
}

/* In a chroot, the root of the runtime is not the root of its mount namespace. pivot_root would only exchange the
 * former, and a process that joins the namespace later (exec) would get the host's root. Joining the own namespace
 * again changes to its real root. */
static int leave_chroot(struct init *init) {
    int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return fail(init, "open", "/proc/self/ns/mnt");
    if (setns(own, CLONE_NEWNS) < 0)
        return fail(init, "setns", "/proc/self/ns/mnt");
    close(own);
    return 0;
}

/* Decodes a path of /proc/self/mountinfo in place, where blanks and some other characters are octal numbers. */
static void unescape(char *path) {
    char *to = path;
    for (const char *from = path; *from; to++) {
        if (from[0] == '\\' && from[1] && from[2] && from[3]) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Covers a mount that cannot be removed with an empty one. */
static int cover(struct init *init, const char *path) {
    int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int tree = -1;
    if (context >= 0 && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        tree = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    int done = tree < 0 ? -1 : move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    if (done < 0)
        done = fail(init, "move_mount", path);
    if (tree >= 0)
        close(tree);
    if (context >= 0)
        close(context);
    return done;
}

/* Removes one mount of the host with everything below it, after making them slaves, so that the host keeps them. In a
 * user namespace the kernel refuses this (mount_namespaces(7), locked mounts). A procfs or sysfs is then covered: while
 * one is visible, the container may mount another (mount_too_revealing in the kernel), which would have no masks. */
static int drop_mount(struct init *init, const char *path) {
    struct statfs fs;
    struct mount_attr slave = {.propagation = MS_SLAVE};
    if (mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &slave) < 0 && errno == EINVAL)
        return 0; /* no longer a mount: it went with another */
    if (umount_detach(path) == 0 || statfs(path, &fs) < 0)
        return 0;
    return fs.f_type == PROC_MAGIC || fs.f_type == SYSFS_MAGIC ? cover(init, path) : 0;
}

static char *read_all(FILE *file) {
    size_t size = 0, got, room = 1 << 16;
    char *text = malloc(room);
    while (text && (got = fread(text + size, 1, room - size - 1, file)) > 0) {
        size += got;
        char *more = size + 1 < room ? text : realloc(text, room *= 2);
        if (!more)
            free(text);
        text = more;
    }
    if (text)
        text[size] = '\0';
    return text;
}

/* The old root of this mount namespace stays below the new one, with everything mounted there. mounts:
 * /proc/self/mountinfo from before; own: where the new root was. */
static int drop_old_mounts(struct init *init, char *mounts, const char *own) {
    size_t length = strlen(own);
    for (char *line = strtok(mounts, "\n"); line; line = strtok(NULL, "\n")) {
        char *fields[5] = {NULL};
        for (int i = 0; line && i < 5; i++)
            fields[i] = strsep(&line, " ");
        char *path = fields[4];
        if (!path || strcmp(path, "/") == 0)
            continue;
        unescape(path);
        if (strncmp(path, own, length) == 0 && path[length] == '/')
            continue; /* it moved along, and the image decides what is there now */
        if (drop_mount(init, path) < 0)
            return -1;
    }
    return 0;
}

/* --no-pivot: for a host whose root is a ramfs, where pivot_root cannot work. */
static int move_and_chroot(struct init *init) {
    char link[32], own[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", init->root);
    ssize_t length = readlink(link, own, sizeof(own) - 1);
    if (length < 0)
        return fail(init, "readlink", link);
    own[length] = '\0';
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *mounts = file ? read_all(file) : NULL;
    if (!mounts)
        return fail(init, "read", "/proc/self/mountinfo");
    fclose(file);
    /* Slaves: neither the new root nor the unmounting may propagate to the host. */
    if (fchdir(init->root) < 0)
        return fail(init, "fchdir", "/");
    struct mount_attr slave = {.propagation = MS_SLAVE};
    if (mount_setattr(AT_FDCWD, "/", 0, &slave) < 0)
        return fail(init, "mount_setattr", "/");
    if (move_mount(init->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail(init, "move_mount", "/");
    int done = drop_old_mounts(init, mounts, own);
    free(mounts);
    if (done < 0)
        return -1;
    return chroot(".") < 0 ? fail(init, "chroot", "/") : 0;
}

int pivot(struct init *init) {
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(init, "open", "/");
    if (fchdir(init->root) < 0)
        return fail(init, "fchdir", "/");
    /* The old root is now below the new one at "/" (pivot_root(2), NOTES), and is the working directory. */
    if (pivot_root(".", ".") < 0)
        return fail(init, "pivot_root", "/");
    if (fchdir(old) < 0)
        return fail(init, "fchdir", "/");
    /* Slaves: the unmounting must not propagate to the host. */
    if (set_attributes(old, 0, 0, MS_SLAVE, PLAN_MOUNT_RECURSIVE_PROPAGATION) < 0)
        return fail(init, "mount_setattr", "/");
    if (umount_detach(".") < 0)
        return fail(init, "umount2", "/");
    close(old);
    return 0;
}

int op_pivot_root(struct init *init, const struct op_pivot_root *args) {
    if (leave_chroot(init) < 0)
        return -1;
    if ((args->no_pivot ? move_and_chroot(init) : pivot(init)) < 0)
        return -1;
    if (chdir("/") < 0)
        return fail(init, "chdir", "/");
    close(init->root);
    init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return init->root < 0 ? fail(init, "open", "/") : 0;
}

/* Clones the container's /dev/null, after checking that it is that device (CVE-2025-31133). */
static int null_tree(struct init *init) {
    struct stat st;
    int fd = open_in_root(init->root, "/dev/null", O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return fail(init, "openat2", "/dev/null");
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
        close(fd);
        return fail_with(init, "mask", "/dev/null", ENODEV, "it is not the null device 1:3");
    }
    int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    close(fd);
    return tree < 0 ? fail(init, "open_tree", "/dev/null") : tree;
}

/* All masked directories share one empty mount. The first gets the mount, and the others get clones: detached mounts
 * can be cloned only since Linux 6.15 (open_tree(2)). */
static int empty_tree(struct init *init, int empty, const char *path) {
    if (!init->empty_attached)
        return empty;
    int tree = open_tree(empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    return tree < 0 ? fail(init, "open_tree", path) : tree;
}

int op_mask(struct init *init, const struct op_mask *args) {
    const char *path = args->path;
    const char *step;
    struct stat st;
    int target = resolve(init, path, 0, RESOLVE_EXISTING, &step);
    if (target < 0)
        return tolerates(args->tolerated, errno) ? 0 : fail(init, step, path);
    if (fstat(target, &st) < 0)
        return fail(init, "fstat", path);
    bool directory = S_ISDIR(st.st_mode);
    int tree = directory ? empty_tree(init, init->slots[args->empty], path) : null_tree(init);
    if (tree < 0)
        return -1;
    if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return fail(init, "move_mount", path);
    init->empty_attached |= directory;
    close(target);
    if (tree != init->slots[args->empty])
        close(tree);
    return 0;
}

int op_readonly(struct init *init, const struct op_readonly *args) {
    const char *path = args->path;
    const char *step;
    int target = resolve(init, path, 0, RESOLVE_EXISTING, &step);
    if (target < 0)
        return tolerates(args->tolerated, errno) ? 0 : fail(init, step, path);
    int tree = open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0)
        return fail(init, "open_tree", path);
    if (set_attributes(tree, MOUNT_ATTR_RDONLY, 0, 0, PLAN_MOUNT_RECURSIVE_ATTR) < 0)
        return fail(init, "mount_setattr", path);
    if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return fail(init, "move_mount", path);
    close(tree);
    close(target);
    return 0;
}
