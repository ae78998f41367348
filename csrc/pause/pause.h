/* SPDX-License-Identifier: Apache-2.0
 *
 * What the pause of each architecture does. The .S files implement it.
 *
 * pause is the first process of a pod. It keeps the namespaces open, reaps the orphans of a shared PID namespace, and
 * exits with 0 on SIGTERM and SIGINT:
 *
 *      block SIGTERM, SIGINT, SIGCHLD          (before anything else)
 *      `pause -v`, `pause --version`: print a line, exit
 *  reap:
 *      wait4(-1, WNOHANG) until no ended child is left
 *      rt_sigtimedwait(the same three signals)
 *      SIGCHLD, or EINTR (stopped and continued): go to reap
 *      SIGTERM, SIGINT: exit 0; any other error: exit 1, rather than spin
 *
 * No child is missed. The signals stay blocked and there are no handlers, so only rt_sigtimedwait consumes a SIGCHLD,
 * and a full round of wait4 follows each. A child that dies before the end of the round is reaped in it. One that dies
 * after the last wait4 of the round leaves SIGCHLD pending, and rt_sigtimedwait returns at once. One that died before
 * the signals were blocked is reaped in the first round. Several deaths may merge into one pending SIGCHLD; a round
 * does not count. __WALL includes children that report with another signal than SIGCHLD.
 *
 * A signal with its default action does not kill PID 1. But a blocked signal is queued for PID 1 as for any process,
 * even if it was inherited as ignored (pid_namespaces(7), sigwaitinfo(2)). The lowest pending number is taken first: 2
 * and 15 come before SIGCHLD, 17, so many orphans do not delay the end.
 *
 * pause never writes to memory. Resident are one page of this text, and the stack as execve filled it: one page of
 * strings (if arguments and environment stay below 4 KiB) and one or two of pointers. That is 8 to 16 KiB with pages of
 * 4 KiB.
 */
#include <asm/unistd.h>

/* Equal to pyoci.VERSION, which a test checks. A build may set another one with -D. */
#ifndef PAUSE_VERSION
#define PAUSE_VERSION "0.1.0"
#endif

/* The same on both architectures. asm/signal.h is C and cannot be included here. */
#define SIG_BLOCK 0
#define SIGINT 2
#define SIGTERM 15
#define SIGCHLD 17
#define SIGNALS ((1 << (SIGINT - 1)) | (1 << (SIGTERM - 1)) | (1 << (SIGCHLD - 1)))
#define SIGNALS_SIZE 8 /* the kernel's sigset_t, in bytes */
#define EINTR 4
#define WNOHANG 0x00000001
#define WALL 0x40000000
#define STDOUT 1
