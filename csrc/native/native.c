/* SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "../init/sys.h"

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE 0xb703 /* linux/nsfs.h: _IO(0xb7, 3) */
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3; allows executing the copy where vm.memfd_noexec is set */
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);

static int result(long value) {
    return value < 0 ? -errno : (int)value;
}

/* After this, a container that opens /proc/PID/exe finds a file that nobody can change. */
static int seal(int fd) {
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int new_memfd(const char *name, unsigned int flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 && errno == EINVAL && flags) /* before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int pyoci_init_memfd(const char *path) {
    int source = open(path, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        return -errno;
    int fd = new_memfd("pyoci-init", MFD_EXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0)
        got = sendfile(fd, source, NULL, 1 << 20);
    int error = errno;
    close(source);
    if (got == 0)
        return seal(fd);
    if (fd >= 0)
        close(fd);
    return -error;
}

int pyoci_plan_memfd(const char *plan, uint32_t size) {
    int fd = new_memfd("pyoci-plan", 0);
    ssize_t got = 1;
    for (uint32_t at = 0; fd >= 0 && at < size && got > 0; at += (uint32_t)got)
        got = write(fd, plan + at, size - at);
    if (fd < 0)
        return -errno;
    if (got > 0)
        return seal(fd);
    int error = got < 0 ? errno : EIO;
    close(fd);
    return -error;
}

int pyoci_socketpair(int *pair) {
    int on = 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    return result(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
}

/* Binds a new socket to a path of any length, by its directory's descriptor: sun_path holds only 107 bytes. */
static int bound_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = strrchr(path, '/');
    if (!name)
        return -EINVAL;
    char directory[4096];
    if ((size_t)(name - path) >= sizeof(directory))
        return -ENAMETOOLONG;
    memcpy(directory, path, (size_t)(name - path));
    directory[name - path] = '\0';
    int parent = open(directory[0] ? directory : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int used = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d%s", parent, name);
    int error = 0;
    if (fd < 0)
        error = errno;
    else if (used < 0 || (size_t)used >= sizeof(address.sun_path))
        error = ENAMETOOLONG;
    else if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        error = errno;
    close(parent);
    if (error && fd >= 0)
        close(fd);
    return error ? -error : fd;
}

int pyoci_listen(const char *path) {
    int fd = bound_socket(path);
    if (fd >= 0 && listen(fd, 16) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Connects by a descriptor of the socket's file. The path may have any length, and a symlink in its place is not
 * followed. */
int pyoci_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), error = fd < 0 ? errno : 0;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", place);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        error = errno;
    close(place);
    if (error && fd >= 0)
        close(fd);
    return error ? -error : fd;
}

int pyoci_send(int fd, uint32_t message, int32_t value, const char *payload, uint32_t size, int passed) {
    struct sync_header header = {.message = message, .value = value, .size = size};
    struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)payload, size}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr head;
    } control = {{0}};
    if (size > SYNC_BYTES)
        return -EMSGSIZE;
    if (passed >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.head =
            (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(passed))};
        memcpy(CMSG_DATA(&control.head), &passed, sizeof(passed));
    }
    return result(sendmsg(fd, &msg, MSG_NOSIGNAL));
}

int pyoci_report_memory(void) {
    int fd = new_memfd("pyoci-report", 0);
    if (fd >= 0 && ftruncate(fd, SYNC_REPORT_BYTES) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return -error;
}

int pyoci_receive(int fd, int timeout, struct sync_header *header, int32_t *sender, char *payload, uint32_t room) {
    struct iovec parts[2] = {{header, sizeof(*header)}, {payload, room}};
    union { /* no room for descriptors, so the sender cannot pass us any */
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    if (timeout >= 0) {
        int ready = pyoci_wait_readable(fd, timeout);
        if (ready < 0)
            return ready;
    }
    memset(header, 0, sizeof(*header));
    *sender = 0;
    ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return -errno;
    if (got == 0) {
        header->message = SYNC_NONE;
        return 0;
    }
    struct cmsghdr *told = CMSG_FIRSTHDR(&msg);
    if (told && told->cmsg_level == SOL_SOCKET && told->cmsg_type == SCM_CREDENTIALS)
        *sender = ((struct ucred *)CMSG_DATA(told))->pid;
    if ((size_t)got < sizeof(*header) || header->size != (size_t)got - sizeof(*header))
        return -EBADMSG;
    return (int)header->size;
}

int pyoci_ns_type(int fd) {
    return result(ioctl(fd, NS_GET_NSTYPE));
}

int pyoci_pidfd_open(int pid) {
    return result(pidfd_open(pid, 0));
}

int pyoci_pidfd_send_signal(int pidfd, int signum) {
    return result(syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0));
}

int pyoci_wait_readable(int fd, int timeout) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int got = poll(&ready, 1, timeout);
    return got < 0 ? -errno : got == 0 ? -ETIMEDOUT : 0;
}

int pyoci_sched_setattr(int pid, struct scheduling *wanted) {
    wanted->size = sizeof(*wanted);
    return result(syscall(SYS_sched_setattr, pid, wanted, 0));
}

int pyoci_bpf(int command, char *attr, uint32_t size) {
    return result(syscall(SYS_bpf, command, attr, size));
}

int pyoci_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data) {
    return result(mount(source, target, type, (unsigned long)flags, data));
}

int pyoci_prctl(int option, uint64_t argument) {
    return result(prctl(option, argument, 0, 0, 0));
}

int pyoci_umount(const char *target, int flags) {
    return result(syscall(SYS_umount2, target, flags));
}

/* The bare system call: the kernel's set has 64 bits, and libc's is longer. */
int pyoci_block_signals(uint64_t set) {
    return result(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, sizeof(set)));
}

int pyoci_signalfd(uint64_t set) {
    return result(syscall(SYS_signalfd4, -1, &set, sizeof(set), SFD_CLOEXEC | SFD_NONBLOCK));
}

int pyoci_take_signal(int fd) {
    struct signalfd_siginfo taken;
    if (read(fd, &taken, sizeof(taken)) < 0)
        return errno == EAGAIN ? 0 : -errno;
    return (int)taken.ssi_signo;
}

int pyoci_signal_ignored(int signum) {
    struct sigaction action;
    if (sigaction(signum, NULL, &action) < 0)
        return -errno;
    return action.sa_handler == SIG_IGN;
}

int pyoci_signal_default(int signum) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    return result(sigaction(signum, &action, NULL));
}

int pyoci_wait_two(int first, int second, int timeout) {
    struct pollfd ready[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    int got = poll(ready, 2, timeout);
    if (got <= 0)
        return got < 0 ? -errno : -ETIMEDOUT;
    return (ready[0].revents ? 1 : 0) | (ready[1].revents ? 2 : 0);
}
