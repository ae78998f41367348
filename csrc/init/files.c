/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates device nodes, symlinks and directories inside the root, and writes to files of a private procfs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "init.h"
#include "sys.h"

/* A node that exists, in the image or a bind mount, is accepted only if it is the same device. */
static int check_node(struct init *init, int parent, const char *name, const char *path, mode_t mode, dev_t device) {
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(init, "fstatat", path);
    if ((st.st_mode & S_IFMT) == (mode & S_IFMT) && (S_ISFIFO(mode) || st.st_rdev == device))
        return 0;
    return fail_with(init, "mknodat", path, EEXIST, "what stands there is not this device");
}

int op_mknod(struct init *init, const struct op_mknod *args) {
    const char *path = args->path;
    const char *step;
    char name[256];
    mode_t mode = (mode_t)args->mode;
    dev_t device = (dev_t)args->device;
    int parent = resolve_parent(init, path, name, &step);
    if (parent < 0)
        return fail(init, step, path);
    mode_t mask = umask(0);
    int made = mknodat(parent, name, mode, device);
    umask(mask);
    int done = 0;
    if (made < 0 && errno == EEXIST)
        done = check_node(init, parent, name, path, mode, device);
    else if (made < 0)
        done = fail(init, "mknodat", path);
    else if (fchownat(parent, name, (uid_t)args->uid, (gid_t)args->gid, AT_SYMLINK_NOFOLLOW) < 0)
        done = fail(init, "fchownat", path);
    close(parent);
    return done;
}

int op_symlink(struct init *init, const struct op_symlink *args) {
    const char *path = args->path;
    const char *step;
    char name[256];
    int parent = resolve_parent(init, path, name, &step);
    if (parent < 0)
        return fail(init, step, path);
    int done = 0;
    if (symlinkat(args->target, parent, name) < 0 && !tolerates(args->tolerated, errno))
        done = fail(init, "symlinkat", path);
    close(parent);
    return done;
}

int op_mkdir(struct init *init, const struct op_mkdir *args) {
    const char *path = args->path;
    const char *step;
    int fd = resolve(init, path, 0, RESOLVE_DIRECTORY, &step);
    if (fd < 0)
        return fail(init, step, path);
    close(fd);
    return 0;
}

/* Writes through a procfs that no path leads to, so that the container cannot redirect the write (CVE-2019-16884,
 * CVE-2025-52881). */
int op_proc_write(struct init *init, const struct op_proc_write *args) {
    const char *path = args->path;
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    if (context < 0)
        return fail(init, "fsopen", path);
    int proc = -1;
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        proc = fsmount(context, FSMOUNT_CLOEXEC, 0);
    close(context);
    if (proc < 0)
        return fail(init, "fsmount", path);
    struct open_how how = {.flags = O_WRONLY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    int fd = openat2(proc, path, &how);
    int error = errno;
    close(proc);
    errno = error;
    if (fd < 0)
        return fail(init, "openat2", path);
    ssize_t written = write(fd, args->value, strlen(args->value));
    error = errno;
    close(fd);
    errno = error;
    return written < 0 ? fail(init, "write", path) : 0;
}
