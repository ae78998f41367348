/* SPDX-License-Identifier: Apache-2.0
 *
 * Generates C from the list of operations (operations.def): numbers, arguments, functions.
 */
#ifndef PYOCI_OPERATIONS_H
#define PYOCI_OPERATIONS_H

#include "plan.h"

/* A binary argument. */
struct plan_bytes {
    uint64_t size;
    char bytes[];
};

enum plan_kind {
    PLAN_NONE = 0,
#define OPERATION(KIND, name, fields) PLAN_##KIND,
#include "operations.def"
    PLAN_KINDS
};

/* The arguments in a loaded plan, in which offsets have become pointers. A list begins with its first text, see
 * list_first(). */
#define TEXT(field) const char *field;
#define LIST(field) const char *field;
#define ARGV(field) const char *field;
#define BYTES(field) const struct plan_bytes *field;
#define SLOT(field) int64_t field;
#define INT32(field) int64_t field;
#define UINT32(field) uint64_t field;
#define UINT64(field) uint64_t field;
#define BOOL(field) uint64_t field;
#define ERRNOS(field) uint64_t field;
#define OPERATION(KIND, name, fields)                                                                                  \
    struct op_##name {                                                                                                 \
        struct plan_op op;                                                                                             \
        fields                                                                                                         \
    };
#include "operations.def"

/* Each field is one word, so that the structs have no gaps and Python can write them field by field. */
_Static_assert(sizeof(struct plan_op) == 8 && sizeof(void *) == 8, "a word of the plan has 64 bits");
#define WORD(field) +8
#define TEXT WORD
#define LIST WORD
#define ARGV WORD
#define BYTES WORD
#define SLOT WORD
#define INT32 WORD
#define UINT32 WORD
#define UINT64 WORD
#define BOOL WORD
#define ERRNOS WORD
#define OPERATION(KIND, name, fields)                                                                                  \
    _Static_assert(sizeof(struct op_##name) == sizeof(struct plan_op) fields, "op_" #name " has a gap");
#include "operations.def"
#undef WORD

/* The other structs that Python reads or writes have no gaps either. */
_Static_assert(sizeof(struct plan_header) == 32 && sizeof(struct plan_fds) == 12, "the plan's header has a gap");
_Static_assert(sizeof(struct sync_header) == 12 && sizeof(struct sync_failure) == 24, "a sync message has a gap");

/* One function per operation, in the file of its subject. Returns 0, or -1 by fail(). */
struct init;
#define OPERATION(KIND, name, fields) int op_##name(struct init *init, const struct op_##name *args);
#include "operations.def"

#endif
