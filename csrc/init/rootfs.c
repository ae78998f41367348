/* SPDX-License-Identifier: Apache-2.0
 *
 * The root: made a mount of its own, pivoted to, and what of it is hidden or made read-only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "init.h"
#include "sys.h"

int setns(int fd, int type);

/* The head of struct statx (statx(2)), which some libraries declare, others not, and linux/stat.h once more. */
struct mount_root {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint64_t rest[30];
};
#define MOUNT_ROOT 0x2000 /* STATX_ATTR_MOUNT_ROOT */

/* pivot_root(2) refuses a root whose parent mount is shared. The parent is found by walking up to the first
 * directory that is a mount's root. */
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

/* --no-pivot, for a root file system on ramfs, which cannot be pivoted away from. */
static int move_and_chroot(struct init *init) {
    if (fchdir(init->root) < 0)
        return fail(init, "fchdir", "/");
    if (move_mount(init->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail(init, "move_mount", "/");
    if (chroot(".") < 0)
        return fail(init, "chroot", "/");
    return 0;
}

/* A runtime in a chroot has a root that is not its mount namespace's, and pivot_root would exchange that one: who joins
 * the namespace later (exec) would stand in the host's root. Joining one's own namespace leads to its true root. */
static int leave_chroot(struct init *init) {
    int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return fail(init, "open", "/proc/self/ns/mnt");
    if (setns(own, CLONE_NEWNS) < 0)
        return fail(init, "setns", "/proc/self/ns/mnt");
    close(own);
    return 0;
}

static int pivot(struct init *init) {
    if (leave_chroot(init) < 0)
        return -1;
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(init, "open", "/");
    if (fchdir(init->root) < 0)
        return fail(init, "fchdir", "/");
    /* The old root is stacked below the new one at "/" (pivot_root(2), NOTES), and is then the working directory's. */
    if (pivot_root(".", ".") < 0)
        return fail(init, "pivot_root", "/");
    if (fchdir(old) < 0)
        return fail(init, "fchdir", "/");
    /* A slave: its unmounting must not reach the host. */
    if (set_attributes(old, 0, 0, MS_SLAVE, PLAN_MOUNT_RECURSIVE_PROPAGATION) < 0)
        return fail(init, "mount_setattr", "/");
    if (umount_detach(".") < 0)
        return fail(init, "umount2", "/");
    close(old);
    return 0;
}

int op_pivot_root(struct init *init, const struct op_pivot_root *args) {
    if ((args->no_pivot ? move_and_chroot(init) : pivot(init)) < 0)
        return -1;
    if (chdir("/") < 0)
        return fail(init, "chdir", "/");
    close(init->root);
    init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return init->root < 0 ? fail(init, "open", "/") : 0;
}

/* A clone of the container's own /dev/null, which must truly be one (CVE-2025-31133). */
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

int op_mask(struct init *init, const struct op_mask *args) {
    const char *path = args->path;
    const char *step;
    struct stat st;
    int target = resolve(init, path, 0, RESOLVE_EXISTING, &step);
    if (target < 0)
        return tolerates(args->tolerated, errno) ? 0 : fail(init, step, path);
    if (fstat(target, &st) < 0)
        return fail(init, "fstat", path);
    /* One mount for all directories: each gets a clone of it. */
    int empty = init->slots[args->empty];
    int tree = S_ISDIR(st.st_mode) ? open_tree(empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)
                                   : null_tree(init);
    if (tree < 0)
        return S_ISDIR(st.st_mode) ? fail(init, "open_tree", path) : -1;
    if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return fail(init, "move_mount", path);
    close(target);
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
