/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel itself needs for a container, with no runtime around it: the floor of the benchmarks.
 *
 *     floor none                   nothing: the cost of any static program
 *     floor run ROOTFS PROGRAM     clone3 with six namespaces, six mounts, pivot_root, exec, wait
 *     floor exec PID PROGRAM       setns into the namespaces of a process, clone3, exec, wait
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP)

static const struct {
    const char *type, *target, *options;
    unsigned long flags;
} mounts[] = {
    {"proc", "proc", NULL, 0},
    {"tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
    {"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620", MS_NOSUID | MS_NOEXEC},
    {"tmpfs", "dev/shm", "mode=1777,size=65536k", MS_NOSUID | MS_NOEXEC | MS_NODEV},
    {"mqueue", "dev/mqueue", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
    {"sysfs", "sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY},
};

static void check(long result, const char *step) {
    if (result >= 0)
        return;
    dprintf(2, "floor: %s: %s\n", step, strerror(errno));
    _exit(125);
}

static pid_t clone_into(unsigned long flags) {
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    check(pid, "clone3");
    return (pid_t)pid;
}

static void execute(char *program) {
    char *argv[] = {program, NULL}, *environment[] = {"PATH=/bin", NULL};
    execve(program, argv, environment);
    check(-1, program);
}

static void build(const char *rootfs) {
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
    check(mount(rootfs, rootfs, NULL, MS_BIND, NULL), "bind rootfs");
    check(chdir(rootfs), "chdir");
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        if (mkdir(mounts[i].target, 0755) < 0 && errno != EEXIST)
            check(-1, mounts[i].target);
        check(mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options),
              mounts[i].target);
    }
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount");
    check(chdir("/"), "chdir");
}

static void join(const char *pid) {
    long descriptor = syscall(SYS_pidfd_open, atoi(pid), 0);
    check(descriptor, "pidfd_open");
    check(setns((int)descriptor, NAMESPACES), "setns");
}

int main(int argc, char **argv) {
    int status, is_run = argc == 4 && !strcmp(argv[1], "run");
    if (argc == 2 && !strcmp(argv[1], "none"))
        return 0;
    if (!is_run && (argc != 4 || strcmp(argv[1], "exec") != 0)) {
        dprintf(2, "usage: floor none | run ROOTFS PROGRAM | exec PID PROGRAM\n");
        return 2;
    }
    if (!is_run)
        join(argv[2]);
    pid_t child = clone_into(is_run ? NAMESPACES : 0);
    if (child == 0) {
        if (is_run)
            build(argv[2]);
        execute(argv[3]);
    }
    check(waitpid(child, &status, 0), "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
