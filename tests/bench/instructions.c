/* SPDX-License-Identifier: Apache-2.0
 *
 * instructions SECONDS FILE COMMAND [ARG...]: runs the command step by step (ptrace(2), PTRACE_SINGLESTEP), writes the
 * number of instructions that its process executed in user space, as a decimal line, to FILE, and exits as it does:
 * with its status, or 128 + the signal that ended it. After SECONDS it ends the command, and exits with 124.
 *
 * Children and further threads of the process are not traced, so they run at full speed and are not counted; what it
 * executes in its own place is. A repeated string instruction of x86 counts once, as a processor's own counter has it,
 * although each repetition would trap. On aarch64 a loop of load and store exclusive (LDXR, STXR) never gets through, for
 * the trap between them clears the monitor: there the command must use the atomics of ARMv8.1, as glibc does.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;
static volatile sig_atomic_t late;

static void check(long result, const char *step) {
    if (result >= 0)
        return;
    dprintf(2, "instructions: %s: %s\n", step, strerror(errno));
    exit(126);
}

static void end_child(int number) {
    (void)number;
    late = 1;
    kill(child, SIGKILL);
}

/* Tracer and command take turns, so one processor is enough; to wake the other one for each step takes longer. */
static void stay_on_one_processor(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    check(sched_setaffinity(0, sizeof here, &here), "sched_setaffinity");
}

/* Starts the command, traced from its exec on: before that it waits for a byte, which comes when the tracer is there. */
static void begin(char **argv) {
    int ready[2];
    check(pipe2(ready, O_CLOEXEC), "pipe2");
    child = fork();
    check(child, "fork");
    if (child == 0) {
        char byte;
        close(ready[1]);
        if (read(ready[0], &byte, 1) == 1)
            execv(argv[0], argv);
        dprintf(2, "instructions: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ready[0]);
    check(ptrace(PTRACE_SEIZE, child, NULL, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL), "PTRACE_SEIZE");
    check(write(ready[1], "", 1), "write");
    close(ready[1]);
}

enum trap { STEP, NOTICE, FOREIGN };

/* Why the child stopped with SIGTRAP: for a step, because a signal handler is about to begin (no instruction was
 * executed), or because the signal is the child's own: sent by kill(2), or of a breakpoint instruction. */
static enum trap cause(void) {
    siginfo_t info;
    if (ptrace(PTRACE_GETSIGINFO, child, NULL, &info) < 0)
        return NOTICE; /* killed meanwhile */
    if (info.si_code == SIGTRAP)
        return NOTICE;
#ifdef __aarch64__
    /* a step over a system call is told as if process 0 had sent the signal */
    return info.si_code == TRAP_TRACE || (info.si_code == SI_USER && info.si_pid == 0) ? STEP : FOREIGN;
#else
    /* a step over a system call is told as TRAP_BRKPT, the breakpoint instruction as SI_KERNEL */
    return info.si_code == TRAP_TRACE || info.si_code == TRAP_BRKPT || info.si_code == TRAP_HWBKPT ? STEP : FOREIGN;
#endif
}

#ifdef __x86_64__
#include <stddef.h>
#include <sys/user.h>

#define DEBUG_REGISTER(n) offsetof(struct user, u_debugreg[n])

static unsigned long before; /* instruction pointer after the last step */
static int skipping;         /* a breakpoint is behind a repeated instruction, and the child runs to it */

/* The length of a string instruction (INS, OUTS, MOVS, CMPS, STOS, LODS, SCAS) with a repeat prefix; 0 for all others.
 * Intel's manual, volume 2, 2.1.1: legacy prefixes come in any order, REX after them. */
static size_t repeated_length(const unsigned char *code, size_t size) {
    size_t i = 0;
    int repeat = 0;
    for (; i < size && code[i] && strchr("\x66\x67\xf2\xf3\x26\x2e\x36\x3e\x64\x65", code[i]); i++)
        repeat |= code[i] == 0xf2 || code[i] == 0xf3;
    if (i < size && (code[i] & 0xf0) == 0x40)
        i++;
    if (!repeat || i >= size)
        return 0;
    int is_string = (code[i] >= 0x6c && code[i] <= 0x6f) || (code[i] >= 0xa4 && code[i] <= 0xa7) ||
                    (code[i] >= 0xaa && code[i] <= 0xaf);
    return is_string ? i + 1 : 0;
}

/* Lets the child run freely as far as `address` (debug register 0, enabled by bit 0 of register 7), or, with 0, no
 * more. A thread's debug registers go neither to its children nor through an exec. */
static void run_to(unsigned long address) {
    ptrace(PTRACE_POKEUSER, child, DEBUG_REGISTER(7), 0);
    skipping = address && ptrace(PTRACE_POKEUSER, child, DEBUG_REGISTER(0), address) == 0 &&
               ptrace(PTRACE_POKEUSER, child, DEBUG_REGISTER(7), 1) == 0;
}

/* Whether the last step was one repetition of a string instruction, on which the instruction pointer stays. (It also
 * stays on a jump to itself, each turn of which is an instruction of its own.) The others are skipped. */
static int in_repetition(void) {
    errno = 0;
    unsigned long now = (unsigned long)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), NULL);
    int moved = now != before;
    before = now;
    if (errno || moved)
        return 0;
    long code = ptrace(PTRACE_PEEKTEXT, child, now, NULL);
    size_t length = errno ? 0 : repeated_length((const unsigned char *)&code, sizeof code);
    if (length)
        run_to(now + length);
    return length > 0;
}

/* How the child goes on; a breakpoint that it met, or that a signal came before, is taken away. */
static int resume(int stopped_for_repetition) {
    if (skipping && !stopped_for_repetition)
        run_to(0);
    return skipping ? PTRACE_CONT : PTRACE_SINGLESTEP;
}
#else
static int in_repetition(void) {
    return 0;
}

static int resume(int stopped_for_repetition) {
    (void)stopped_for_repetition;
    return PTRACE_SINGLESTEP;
}
#endif

static int is_stop_signal(int number) {
    return number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

/* Steps the child to its end; its wait status. */
static int count_to_the_end(long *count) {
    int status;
    *count = -1; /* the way out of the first execve traps as a step: the instruction was this program's */
    for (;;) {
        if (waitpid(child, &status, __WALL) < 0) {
            check(errno == EINTR ? 0 : -1, "waitpid");
            continue;
        }
        if (!WIFSTOPPED(status))
            break;
        int number = WSTOPSIG(status), event = status >> 16, repeats = 0;
        if (event == PTRACE_EVENT_STOP && is_stop_signal(number)) {
            ptrace(PTRACE_LISTEN, child, NULL, NULL); /* stopped as it would be untraced, until SIGCONT */
            continue;
        }
        if (event)
            number = 0;
        else if (number == SIGTRAP) {
            enum trap why = cause();
            repeats = why == STEP && in_repetition();
            *count += why == STEP && !repeats;
            number = why == FOREIGN ? SIGTRAP : 0;
        }
        ptrace(resume(repeats), child, NULL, number); /* fails if it was killed meanwhile: waitpid tells */
    }
    *count += WIFEXITED(status); /* the system call that ends it does not come back to trap */
    return status;
}

int main(int argc, char **argv) {
    int seconds = argc < 4 ? 0 : atoi(argv[1]);
    if (seconds <= 0) {
        dprintf(2, "usage: instructions SECONDS FILE COMMAND [ARG...]\n");
        return 2;
    }
    stay_on_one_processor();
    begin(argv + 3);
    struct sigaction action = {.sa_handler = end_child};
    check(sigaction(SIGALRM, &action, NULL), "sigaction");
    alarm((unsigned)seconds);
    long count;
    int status = count_to_the_end(&count);
    if (late) {
        dprintf(2, "instructions: %s: not done after %d seconds\n", argv[3], seconds);
        return 124;
    }
    int file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(file, argv[2]);
    check(dprintf(file, "%ld\n", count), argv[2]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
