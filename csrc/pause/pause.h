/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two pauses have in common: this page says what both do, each .S says it in its own instructions.
 *
 * pause is the first process of a pod. It holds the namespaces open, buries the orphans of a shared PID
 * namespace, and ends with 0 on SIGTERM and SIGINT:
 *
 *      block SIGTERM, SIGINT, SIGCHLD          (first of all)
 *      `pause -v`, `pause --version`: print a line, end
 *  reap:
 *      wait4(-1, WNOHANG) until nobody is left to bury
 *      rt_sigtimedwait(the same three signals)
 *      SIGCHLD, or EINTR (stopped and continued): to reap
 *      SIGTERM, SIGINT: exit 0; any other error: exit 1, rather than spin
 *
 * No child can be missed. The signals stay blocked for the whole life and no handler exists, so a SIGCHLD is
 * never consumed but by rt_sigtimedwait, and every SIGCHLD consumed there is followed by a full round of wait4.
 * A child that dies before the round ends is buried by it. One that dies after the round's last wait4 leaves
 * SIGCHLD pending, and rt_sigtimedwait returns at once. One that died before the signals were blocked is found
 * by the first round. Many deaths may merge into one pending SIGCHLD: the round does not count them.
 * __WALL takes the children too that report with another signal than SIGCHLD.
 *
 * A PID 1 is not killed by a signal at its default action; a blocked signal, however, is queued for a PID 1 as for
 * any process, and even when it was inherited as ignored (pid_namespaces(7), sigwaitinfo(2)). The lowest
 * pending number is taken first: 2 and 15 come before SIGCHLD, 17, so a storm of orphans does not put off the end.
 *
 * Nothing is ever written to memory. Resident are one page of this text, and the stack as execve filled it: one page of
 * texts (while arguments and environment stay below 4 KiB) and one or two of pointers. So 8 to 16 KiB, with 4 KiB pages.
 */
#include <asm/unistd.h>

/* Given to the build by -D where it differs; equal to pyoci.VERSION, which a test holds. */
#ifndef PAUSE_VERSION
#define PAUSE_VERSION "0.1.0"
#endif

/* The same on both machines: asm/signal.h is C, and cannot be included here. */
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
