/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts, through the API of Linux 5.2 and 5.12. A mount is created detached, gets its attributes while nobody can see
 * it, and is then moved onto a descriptor of its target. So there is no remount, and no moment when it is writable.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "init.h"
#include "sys.h"

static bool on_proc(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_MAGIC;
}

int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, int flags) {
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
    if ((set & MOUNT_ATTR__ATIME) || (clear & MOUNT_ATTR__ATIME))
        attr.attr_clr |= MOUNT_ATTR__ATIME; /* the kernel requires that the whole field is cleared when a part is set */
    unsigned int recursive = flags & PLAN_MOUNT_RECURSIVE_ATTR ? AT_RECURSIVE : 0;
    if ((attr.attr_set || attr.attr_clr) && mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &attr) < 0)
        return -1;
    if (propagation) {
        struct mount_attr kind = {.propagation = propagation};
        recursive = flags & PLAN_MOUNT_RECURSIVE_PROPAGATION ? AT_RECURSIVE : 0;
        return mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &kind);
    }
    return 0;
}

/* Moves a detached tree onto `path` in the root. */
int attach(struct init *init, int tree, const char *path, int flags, enum resolve_create create) {
    const char *step;
    int target = resolve(init, path, flags, create, &step);
    if (target < 0)
        return fail(init, step, path);
    int done = 0;
    if (on_proc(target) && !(flags & PLAN_MOUNT_ON_PROC))
        done = fail_with(init, "move_mount", path, EACCES, "the target lies on procfs, which no mount may cover");
    else if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        done = fail(init, "move_mount", path);
    close(target);
    return done;
}

int op_propagation(struct init *init, const struct op_propagation *args) {
    const char *path = args->path;
    struct mount_attr attr = {.propagation = args->propagation};
    if (mount_setattr(AT_FDCWD, path, args->recursive ? AT_RECURSIVE : 0, &attr) < 0)
        return fail(init, "mount_setattr", path);
    return 0;
}

static int fill_slot(struct init *init, int64_t slot, int tree, const char *path) {
    if (tree < 0)
        return fail(init, "open_tree", path);
    init->slots[slot] = tree;
    return 0;
}

int op_open_tree(struct init *init, const struct op_open_tree *args) {
    const char *path = args->path;
    const char *step;
    unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if (args->recursive)
        flags |= AT_RECURSIVE;
    if (!args->inside)
        return fill_slot(init, args->slot, open_tree(AT_FDCWD, path, flags), path);
    int source = resolve(init, path, 0, RESOLVE_EXISTING, &step);
    if (source < 0)
        return fail(init, step, path);
    int tree = open_tree(source, "", flags | AT_EMPTY_PATH);
    int done = fill_slot(init, args->slot, tree, path);
    close(source);
    return done;
}

static bool is_node(int fd, const struct op_open_node *args) {
    struct stat st;
    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == args->type && st.st_rdev == args->device;
}

/* Where no node can be created, the host's is bound, if it is the same device. Its name there does not matter. */
int op_open_node(struct init *init, const struct op_open_node *args) {
    int error = 0;
    const char *const paths[] = {args->path, args->otherwise};
    for (size_t i = 0; i < 2; i++) {
        int node = open(paths[i], O_PATH | O_CLOEXEC);
        if (node < 0 && errno != ENOENT && errno != ENOTDIR)
            return fail(init, "open", paths[i]);
        if (node >= 0 && is_node(node, args)) {
            int tree = open_tree(node, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
            int done = fill_slot(init, args->slot, tree, paths[i]);
            close(node);
            return done;
        }
        if (node >= 0)
            close(node);
        if (i == 0)
            error = node < 0 ? errno : ENODEV;
    }
    return fail_with(init, "open", args->path, error, "the host has no such device there");
}

int op_bind(struct init *init, const struct op_bind *args) {
    const char *path = args->path;
    int tree = init->slots[args->slot];
    int flags = (int)args->flags;
    struct stat st;
    if (fstat(tree, &st) < 0)
        return fail(init, "fstat", path);
    if ((flags & PLAN_MOUNT_PROC_SOURCE) && !on_proc(tree))
        return fail_with(init, "open_tree", path, EACCES, "only procfs itself may be bound on /proc");
    if (attach(init, tree, path, flags, S_ISDIR(st.st_mode) ? RESOLVE_DIRECTORY : RESOLVE_FILE) < 0)
        return -1;
    if (set_attributes(tree, args->attr_set, args->attr_clear, args->propagation, flags) < 0)
        return fail(init, "mount_setattr", path);
    close(tree);
    init->slots[args->slot] = -1;
    return 0;
}

/* Stores the file system's own reason for an error: the newest line of its context's log (fsopen(2)). */
static int fail_context(struct init *init, int context, const char *step, const char *path) {
    int error = errno;
    char line[256];
    ssize_t got = read(context, line, sizeof(line) - 1);
    line[got > 0 ? got : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    close(context);
    return fail_with(init, step, path, error, got > 2 ? line + 2 : NULL);
}

static int configure(int context, const char *option) {
    char key[128];
    const char *equals = strchr(option, '=');
    if (!equals)
        return fsconfig(context, FSCONFIG_SET_FLAG, option, NULL, 0);
    size_t length = (size_t)(equals - option);
    if (length >= sizeof(key))
        return errno = ENAMETOOLONG, -1;
    memcpy(key, option, length);
    key[length] = '\0';
    return fsconfig(context, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

/* A new tmpfs without mode= takes the mode of the directory it covers, as in runc and crun. */
static int keep_mode(const struct init *init, int context, const char *path) {
    const char *step;
    struct stat st;
    int target = resolve(init, path, 0, RESOLVE_EXISTING, &step);
    if (target < 0)
        return 0;
    char mode[16];
    int done = 0;
    if (fstat(target, &st) == 0 && S_ISDIR(st.st_mode)) {
        snprintf(mode, sizeof(mode), "%o", (unsigned)(st.st_mode & 07777));
        done = fsconfig(context, FSCONFIG_SET_STRING, "mode", mode, 0);
    }
    close(target);
    return done;
}

/* Returns a file system context with its options, each "key=value" or "flag". */
static int open_context(struct init *init, const char *type, const char *options, const char *path) {
    size_t count;
    const char *option = list_first(options, &count);
    const char *step = "fsopen";
    int context = strcmp(type, "proc") == 0 ? open_procfs(init, &step) : fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0)
        return fail_with(init, step, path, errno, type);
    for (; count > 0; count--, option += strlen(option) + 1)
        if (configure(context, option) < 0)
            return fail_context(init, context, "fsconfig", path);
    return context;
}

/* Returns the context's file system as a detached mount. */
static int close_context(struct init *init, int context, const char *path) {
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_context(init, context, "fsconfig", path);
    int tree = fsmount(context, FSMOUNT_CLOEXEC, 0);
    if (tree < 0)
        return fail_context(init, context, "fsmount", path);
    close(context);
    return tree;
}

int op_fsmount(struct init *init, const struct op_fsmount *args) {
    int context = open_context(init, args->type, args->options, args->type);
    int tree = context < 0 ? -1 : close_context(init, context, args->type);
    if (tree < 0)
        return -1;
    if (set_attributes(tree, args->attr_set, 0, 0, 0) < 0)
        return fail(init, "mount_setattr", args->type);
    init->slots[args->slot] = tree;
    return 0;
}

int op_mount(struct init *init, const struct op_mount *args) {
    const char *path = args->path;
    int flags = (int)args->flags;
    int context = open_context(init, args->type, args->options, path);
    if (context < 0)
        return -1;
    if ((flags & PLAN_MOUNT_KEEP_MODE) && keep_mode(init, context, path) < 0)
        return fail_context(init, context, "fsconfig", path);
    int tree = close_context(init, context, path);
    if (tree < 0)
        return -1;
    if (init->procfs >= 0 && strcmp(args->type, "proc") == 0 && !on_proc(tree)) /* do not rely on a helper */
        return fail_with(init, "fsmount", path, EACCES, "this is not a procfs");
    if (args->copy_up && copy_up(init, tree, path, args->copy_up) < 0)
        return -1;
    if (set_attributes(tree, args->attr_set, args->attr_clear, 0, flags) < 0)
        return fail(init, "mount_setattr", path);
    if (attach(init, tree, path, flags, flags & PLAN_MOUNT_FILE ? RESOLVE_FILE : RESOLVE_DIRECTORY) < 0)
        return -1;
    if (set_attributes(tree, 0, 0, args->propagation, flags) < 0)
        return fail(init, "mount_setattr", path);
    close(tree);
    return 0;
}

int op_mount_setattr(struct init *init, const struct op_mount_setattr *args) {
    const char *path = args->path;
    const char *step;
    int flags = (int)args->flags;
    int fd = resolve(init, path, flags, RESOLVE_EXISTING, &step);
    if (fd < 0)
        return fail(init, step, path);
    if (set_attributes(fd, args->attr_set, args->attr_clear, args->propagation, flags) < 0)
        return fail(init, "mount_setattr", path);
    close(fd);
    return 0;
}
