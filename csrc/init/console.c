/* SPDX-License-Identifier: Apache-2.0
 *
 * The terminal: a pty of the container's devpts. Its master is sent to the caller over the console socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "init.h"
#include "sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

enum { DEVPTS_MAGIC = 0x1cd1 };

/* Opens the multiplexer, and only in a devpts, where the kernel alone makes the entries. The image may have put
 * anything at its path (CVE-2025-52565), such as a FIFO or a device that acts when it is opened, so the file system is
 * checked first. */
static int open_master(struct init *init) {
    struct statfs fs;
    struct stat st;
    int pts = open_in_root(init->root, "/dev/pts", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (pts < 0)
        return fail(init, "openat2", "/dev/pts");
    if (fstatfs(pts, &fs) < 0 || fs.f_type != DEVPTS_MAGIC) {
        close(pts);
        return fail_with(init, "openat2", "/dev/pts", ENODEV, "it is not a devpts");
    }
    int fd = open_in_root(pts, "ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    int error = errno;
    close(pts);
    if (fd < 0)
        return fail_with(init, "openat2", "/dev/pts/ptmx", error, NULL);
    if (fstat(fd, &st) < 0 || st.st_rdev != makedev(5, 2)) {
        close(fd);
        return fail_with(init, "openat2", "/dev/pts/ptmx", ENODEV, "it is not the multiplexer of a devpts");
    }
    return fd;
}

/* Opens the slave through its master, not by a path. */
static int open_slave(struct init *init, int master) {
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return fail(init, "TIOCSPTLCK", "/dev/pts/ptmx");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return slave < 0 ? fail(init, "TIOCGPTPEER", "/dev/pts/ptmx") : slave;
}

static int bind_console(struct init *init, int slave) {
    int tree = open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return fail(init, "open_tree", "/dev/console");
    int done = attach(init, tree, "/dev/console", PLAN_MOUNT_NO_SYMLINKS, RESOLVE_FILE);
    close(tree);
    return done;
}

int op_console(struct init *init, const struct op_console *args) {
    int socket = (int)args->socket;
    int master = open_master(init);
    if (master < 0)
        return -1;
    int slave = open_slave(init, master);
    if (slave < 0)
        return -1;
    struct winsize size = {.ws_row = (unsigned short)args->rows, .ws_col = (unsigned short)args->columns};
    if (size.ws_row && size.ws_col && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fail(init, "TIOCSWINSZ", "/dev/pts/ptmx");
    if (fchown(slave, (uid_t)args->uid, (gid_t)-1) < 0)
        return fail(init, "fchown", "terminal");
    if (args->bind && bind_console(init, slave) < 0)
        return -1;
    if (send_descriptor(socket, "/dev/ptmx", master) < 0)
        return fail(init, "sendmsg", "console socket");
    close(master);
    close(socket);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            return fail(init, "dup2", "terminal");
    close(slave);
    return 0;
}
