/* SPDX-License-Identifier: Apache-2.0
 *
 * Enters and creates namespaces, and sets what belongs to them: host name, lo, clocks.
 */
#include <errno.h>
#include <grp.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "init.h"
#include "sys.h"

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

int setns(int fd, int type);
int unshare(int flags);

/* Enters the v1 cgroups. A thread that moves itself need not wait for the kernel's lock of all thread groups
 * (cgroup_procs_write_start), which takes about 10 ms if another process moves it. */
int op_enter_cgroup(struct init *init, const struct op_enter_cgroup *args) {
    for (uint64_t i = 0; i < args->count; i++) {
        int fd = (int)(args->descriptor + (int64_t)i);
        if (write(fd, "0", 1) != 1)
            return fail(init, "write", args->path);
        close(fd);
    }
    return 0;
}

/* The descriptor of a namespace that was entered is closed, so that another setns of it does nothing. */
int op_setns(struct init *init, const struct op_setns *args) {
    if (setns((int)args->descriptor, (int)args->namespaces) < 0)
        return errno == EBADF || tolerates(args->deferred, errno) ? 0 : fail(init, "setns", args->path);
    close((int)args->descriptor);
    if (args->namespaces & CLONE_NEWNS) /* setns(2) has changed the root of this process to that of the namespace */
        init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

int op_unshare(struct init *init, const struct op_unshare *args) {
    if (unshare((int)args->namespaces) < 0)
        return fail(init, "unshare", "");
    return 0;
}

/* Only children become members of a new time namespace, and its offsets are fixed once it has a member. So the offsets
 * are written first, and then this process joins it (time_namespaces(7)). */
int op_time_offsets(struct init *init, const struct op_time_offsets *args) {
    const char *offsets = args->offsets;
    if (unshare(CLONE_NEWTIME) < 0)
        return fail(init, "unshare", "time namespace");
    if (*offsets) {
        int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            return fail(init, "open", "/proc/self/timens_offsets");
        if (write(fd, offsets, strlen(offsets)) < 0)
            return fail(init, "write", "/proc/self/timens_offsets");
        close(fd);
    }
    int ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (ns < 0)
        return fail(init, "open", "/proc/self/ns/time_for_children");
    if (setns(ns, CLONE_NEWTIME) < 0)
        return fail(init, "setns", "time namespace");
    close(ns);
    return 0;
}

/* Continues in a child. Only its clone puts a process into a PID namespace, and into a v2 cgroup without waiting for
 * the kernel's lock of all thread groups. With CLONE_PARENT it is a child of the runtime. The child itself informs the
 * runtime, because the kernel may kill the parent at the memory limit of the container's cgroup before it can. */
int op_clone3(struct init *init, const struct op_clone3 *args) {
    struct clone_args clone = {.flags = CLONE_PARENT | args->namespaces};
    if (args->cgroup >= 0) {
        clone.flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (uint64_t)args->cgroup;
    }
    pid_t pid = clone3(&clone);
    const char *step = "clone3";
    if (pid < 0 && clone.flags == CLONE_PARENT && (errno == ENOSYS || errno == EPERM)) {
        step = "clone"; /* filters cannot read the flags of clone3, so profiles refuse it */
        pid = (pid_t)syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
    }
    if (pid < 0)
        return fail(init, step, "");
    if (pid > 0)
        leave(0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return sync_send(init->report, SYNC_CHILD, 0, NULL, 0) < 0 ? fail(init, "sendmsg", "sync") : 0;
}

int op_become_root(struct init *init, const struct op_become_root *args) {
    if (args->clear_groups && setgroups(0, NULL) < 0)
        return fail(init, "setgroups", "user namespace");
    if (setresgid(0, 0, 0) < 0)
        return fail(init, "setresgid", "user namespace");
    if (setresuid(0, 0, 0) < 0)
        return fail(init, "setresuid", "user namespace");
    prctl(PR_SET_DUMPABLE, 0);
    return 0;
}

/* A child of the first process must lead its own session; the first process already does. */
int op_setsid(struct init *init, const struct op_setsid *args) {
    if (getsid(0) != getpid() && setsid() < 0)
        return fail(init, "setsid", "");
    if (args->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        return fail(init, "TIOCSCTTY", "terminal");
    return 0;
}

int op_sethostname(struct init *init, const struct op_sethostname *args) {
    const char *name = args->hostname;
    return sethostname(name, strlen(name)) < 0 ? fail(init, "sethostname", name) : 0;
}

int op_setdomainname(struct init *init, const struct op_setdomainname *args) {
    const char *name = args->domainname;
    return syscall(SYS_setdomainname, name, strlen(name)) < 0 ? fail(init, "setdomainname", name) : 0;
}

int op_loopback(struct init *init, const struct op_loopback *args) {
    (void)args;
    struct ifreq request = {.ifr_flags = 0};
    strcpy(request.ifr_name, "lo");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(init, "socket", "lo");
    int done = 0;
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
        done = fail(init, "SIOCGIFFLAGS", "lo");
    } else {
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
            done = fail(init, "SIOCSIFFLAGS", "lo");
    }
    close(fd);
    return done;
}
