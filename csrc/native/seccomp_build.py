# SPDX-License-Identifier: Apache-2.0
"""Describes the extension ``pyoci._seccomp`` to cffi (API mode): the part of libseccomp that compiles a profile.

It is an extension of its own so that libseccomp is loaded only when a program is not in the cache.
setup.py reads ``ffibuilder`` from here. Source: seccomp_init(3) and its neighbours, <seccomp.h>.
"""

from __future__ import annotations

from cffi import FFI

DECLARATIONS = """
typedef void *scmp_filter_ctx;
enum scmp_filter_attr { SCMP_FLTATR_CTL_OPTIMIZE, ... };
enum scmp_compare {
    SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ, ...
};
struct scmp_arg_cmp { unsigned int arg; enum scmp_compare op; uint64_t datum_a; uint64_t datum_b; };

#define SCMP_ACT_KILL ...
#define SCMP_ACT_KILL_PROCESS ...
#define SCMP_ACT_KILL_THREAD ...
#define SCMP_ACT_TRAP ...
#define SCMP_ACT_ALLOW ...
#define SCMP_ACT_LOG ...
#define SCMP_ARCH_X86_64 ...
#define SCMP_ARCH_X32 ...
#define SCMP_ARCH_S390 ...
#define SCMP_ARCH_S390X ...
static uint32_t pyoci_act_errno(uint32_t value);
static uint32_t pyoci_act_trace(uint32_t value);

scmp_filter_ctx seccomp_init(uint32_t def_action);
void seccomp_release(scmp_filter_ctx ctx);
uint32_t seccomp_arch_native(void);
uint32_t seccomp_arch_resolve_name(const char *arch_name);
int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
int seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value);
int seccomp_syscall_resolve_name(const char *name);
int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);
int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int arg_cnt,
                           const struct scmp_arg_cmp *arg_array);
int seccomp_export_bpf(const scmp_filter_ctx ctx, int fd);
"""

SOURCE = """
#include <seccomp.h>

static uint32_t pyoci_act_errno(uint32_t value) { return SCMP_ACT_ERRNO(value); }
static uint32_t pyoci_act_trace(uint32_t value) { return SCMP_ACT_TRACE(value); }
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source("pyoci._seccomp", SOURCE, libraries=["seccomp"], extra_compile_args=["-O2", "-Wall"])
