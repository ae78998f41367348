/* SPDX-License-Identifier: Apache-2.0
 *
 * pause for aarch64; see pause.h for what it does and why it misses no child.
 *
 * build: cc -nostdlib -static -s -Wl,--build-id=none -Wl,-T,csrc/pause/pause.ld -o pause csrc/pause/pause_aarch64.S
 */
#include "pause.h"

    .text
    .globl _start
_start:                                 /* the stack: argc, argv[0], argv[1], … */
    mov x0, #SIG_BLOCK
    adr x1, signals
    mov x2, #0
    mov x3, #SIGNALS_SIZE
    mov x8, #__NR_rt_sigprocmask
    svc #0
    cbnz w0, failed

    ldr x0, [sp]
    cmp x0, #1
    b.le reap
    adr x1, short_flag
    bl is_argument
    cbz w0, version
    adr x1, long_flag
    bl is_argument
    cbz w0, version

reap:
    mov x0, #-1
    mov x1, #0
    mov w2, #WNOHANG
    movk w2, #(WALL >> 16), lsl #16
    mov x3, #0
    mov x8, #__NR_wait4
    svc #0
    cmp w0, #0
    b.gt reap                           /* 0: all children live; -ECHILD: there are none */

    adr x0, signals
    mov x1, #0
    mov x2, #0                          /* no time limit */
    mov x3, #SIGNALS_SIZE
    mov x8, #__NR_rt_sigtimedwait
    svc #0
    cmp w0, #SIGCHLD
    b.eq reap
    cmn w0, #EINTR
    b.eq reap
    tbnz w0, #31, failed
    mov x0, #0
    b exit

version:
    mov x0, #STDOUT
    adr x1, version_line
    mov x2, #version_line_size
    mov x8, #__NR_write
    svc #0
    cmp x0, #version_line_size
    cset x0, ne
    b exit
failed:
    mov x0, #1
exit:
    mov x8, #__NR_exit_group
    svc #0

is_argument:                            /* w0 = 0 when argv[1] is the text at x1; stops at the first difference or NUL */
    ldr x2, [sp, #16]
1:  ldrb w3, [x1], #1
    ldrb w4, [x2], #1
    subs w0, w3, w4
    b.ne 2f
    cbnz w3, 1b
2:  ret

    .balign 8
signals:
    .quad SIGNALS
short_flag:
    .asciz "-v"
long_flag:
    .asciz "--version"
version_line:
    .ascii "pyoci pause " PAUSE_VERSION "\n"
    .set version_line_size, . - version_line

    .section .note.GNU-stack, "", %progbits
