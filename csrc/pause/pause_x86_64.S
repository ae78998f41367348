/* SPDX-License-Identifier: Apache-2.0
 *
 * pause for x86_64; see pause.h for what it does and why it misses no child.
 *
 * build: cc -nostdlib -static -s -Wl,--build-id=none -Wl,-T,csrc/pause/pause.ld -o pause csrc/pause/pause_x86_64.S
 */
#include "pause.h"

    .text
    .globl _start
_start:                                 /* the stack: argc, argv[0], argv[1], … */
    mov $__NR_rt_sigprocmask, %eax
    mov $SIG_BLOCK, %edi
    lea signals(%rip), %rsi
    xor %edx, %edx
    mov $SIGNALS_SIZE, %r10d
    syscall
    test %eax, %eax
    jnz failed

    cmpq $1, (%rsp)
    jle reap
    lea short_flag(%rip), %rdi
    mov $short_flag_size, %ecx
    mov 16(%rsp), %rsi
    repe cmpsb                          /* to the first difference: never beyond the NUL of argv[1] */
    je version
    lea long_flag(%rip), %rdi
    mov $long_flag_size, %ecx
    mov 16(%rsp), %rsi
    repe cmpsb
    je version

reap:
    mov $__NR_wait4, %eax
    mov $-1, %rdi
    xor %esi, %esi
    mov $(WNOHANG | WALL), %edx
    xor %r10d, %r10d
    syscall
    test %eax, %eax
    jg reap                             /* 0: all children live; -ECHILD: there are none */

    mov $__NR_rt_sigtimedwait, %eax
    lea signals(%rip), %rdi
    xor %esi, %esi
    xor %edx, %edx                      /* no time limit */
    mov $SIGNALS_SIZE, %r10d
    syscall
    cmp $SIGCHLD, %eax
    je reap
    cmp $-EINTR, %eax
    je reap
    test %eax, %eax
    js failed
    xor %edi, %edi
    jmp exit

version:
    mov $__NR_write, %eax
    mov $STDOUT, %edi
    lea version_line(%rip), %rsi
    mov $version_line_size, %edx
    syscall
    xor %edi, %edi
    cmp $version_line_size, %eax
    je exit
failed:
    mov $1, %edi
exit:
    mov $__NR_exit_group, %eax
    syscall

    .balign 8
signals:
    .quad SIGNALS
short_flag:
    .asciz "-v"
    .set short_flag_size, . - short_flag
long_flag:
    .asciz "--version"
    .set long_flag_size, . - long_flag
version_line:
    .ascii "pyoci pause " PAUSE_VERSION "\n"
    .set version_line_size, . - version_line

    .section .note.GNU-stack, "", %progbits
