/* SPDX-License-Identifier: Apache-2.0
 *
 * The loader of plans against plans that are cut off or damaged: either it refuses, or nothing leads out of the plan.
 */
#include <stddef.h>

#include "../../csrc/init/plan.c"

#include "check.h"

#define STRINGS                                                                                                        \
    "\0"                 /* 0: the empty text */                                                                       \
    "/path\0"            /* 1 */                                                                                       \
    "3\0ls\0-l\0/\0"     /* 7: a list */                                                                               \
    "1\0A=b\0"           /* 17: a list */                                                                              \
    "0\0"                /* 23: a list of nothing */                                                                   \
    "\0\0\0\0\0\0\0"     /* 25 */                                                                                      \
    "\010\0\0\0\0\0\0\0" /* 32: how many bytes, */                                                                     \
    "\1\2\3\4\5\6\7\010" /* and they */
enum { PATH = 1, ARGUMENTS = 7, VARIABLES = 17, NOTHING = 23, PROGRAM = 32 };
#define AT(offset) ((const void *)(uintptr_t)(offset)) /* before it is loaded, a pointer is an offset */

/* A field of each type. */
static struct {
    struct plan_header header;
    struct op_setsid setsid;
    struct op_open_tree open_tree;
    struct op_mount mount;
    struct op_hook hook;
    struct op_environment environment;
    struct op_program program;
    struct op_user user;
    struct op_seccomp seccomp;
    struct op_execve execve;
    char strings[sizeof(STRINGS)];
} good = {
    .header = {.magic = PLAN_MAGIC,
               .operations_size = offsetof(__typeof__(good), strings) - sizeof(struct plan_header),
               .strings_size = sizeof(STRINGS),
               .fds = {.sync = 4, .start = 5}},
    .setsid = {{PLAN_SETSID, PATH}},
    .open_tree = {{PLAN_OPEN_TREE, 0}, .path = AT(PATH), .slot = PLAN_SLOTS_MAX - 1, .recursive = 1},
    .mount = {{PLAN_MOUNT, PATH}, .type = AT(PATH), .path = AT(PATH), .options = AT(NOTHING), .attr_set = UINT64_MAX},
    .hook = {{PLAN_HOOK, 0}, .path = AT(PATH), .args = AT(ARGUMENTS), .env = AT(VARIABLES), .timeout = UINT32_MAX},
    .environment = {{PLAN_ENVIRONMENT, 0}, .env = AT(VARIABLES)},
    .program = {{PLAN_PROGRAM, 0}, .args = AT(ARGUMENTS)},
    .user = {{PLAN_USER, 0}, .groups = AT(NOTHING), .umask = -1, .keep_groups = 1},
    .seccomp = {{PLAN_SECCOMP, 0}, .program = AT(PROGRAM)},
    .execve = {{PLAN_EXECVE, 0}},
    .strings = STRINGS,
};

enum { SIZE = offsetof(__typeof__(good), strings) + sizeof(STRINGS) }; /* no padding at the end */

/* Loads `size` bytes, or refuses them with EBADMSG. */
static bool loads(const void *bytes, size_t size, struct init *init) {
    int fd = memfd_create("plan", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    if (load_plan(init, fd) == 0)
        return true;
    CHECK(errno == EBADMSG);
    close(fd);
    return false;
}

static void unload(const struct init *init, size_t size) {
    munmap((void *)init->header, size);
}

static void walk_list(const char *list, const char *end, size_t least) {
    char **array = list_array(list, 0);
    CHECK(array);
    size_t count = 0;
    for (char **item = array; *item; item++, count++)
        CHECK(*item > list && *item + strlen(*item) < end);
    CHECK(count >= least);
    free(array);
}

/* Follows all that an operation would follow; each byte must be the plan's. */
static void walk_operation(const struct init *init, const struct plan_op *op, const char *end) {
    const uint64_t *word = (const uint64_t *)(op + 1);
    CHECK(op->kind > PLAN_NONE && op->kind < PLAN_KINDS);
    CHECK(strlen(init->strings + op->where) < (size_t)(end - init->strings));
    for (const char *letter = signatures[op->kind]; *letter; letter++, word++) {
        const char *pointer = (const char *)(uintptr_t)*word;
        if (strchr("tlay", *letter))
            CHECK(pointer >= init->strings && pointer < end);
        if (*letter == 't')
            CHECK(pointer + strlen(pointer) < end);
        else if (*letter == 'l' || *letter == 'a')
            walk_list(pointer, end, *letter == 'a');
        else if (*letter == 'y')
            CHECK(((const struct plan_bytes *)pointer)->bytes + ((const struct plan_bytes *)pointer)->size <= end);
        else if (*letter == 's')
            CHECK(*word < PLAN_SLOTS_MAX);
        else if (*letter == 'b')
            CHECK(*word <= 1);
    }
}

static void walk(const struct init *init) {
    const char *end = init->strings + init->header->strings_size;
    const struct plan_op *op = init->op;
    uint32_t last = PLAN_NONE;
    for (; (const char *)op < init->strings; op = (const void *)((const char *)op + operation_size(op))) {
        walk_operation(init, op, end);
        last = op->kind;
    }
    CHECK(last == PLAN_EXECVE && (const char *)op == init->strings);
}

static void whole(void) {
    struct init init = {.report = -1};
    size_t count;
    CHECK(loads(&good, SIZE, &init));
    walk(&init);
    CHECK(init.report == 4 && init.op->kind == PLAN_SETSID && strcmp(init.strings + init.op->where, "/path") == 0);
    const struct op_hook *hook = (const void *)((const char *)init.header + offsetof(__typeof__(good), hook));
    CHECK(strcmp(hook->path, "/path") == 0 && hook->timeout == UINT32_MAX);
    const char *first = list_first(hook->args, &count);
    CHECK(count == 3 && strcmp(first, "ls") == 0);
    char **argv = list_array(hook->args, 1);
    CHECK(strcmp(argv[1], "-l") == 0 && strcmp(argv[2], "/") == 0 && !argv[3] && !argv[4]);
    free(argv);
    char **none = list_array(init.strings, 2); /* offset 0, the empty text, is a list of nothing */
    CHECK(!none[0] && !none[1] && !none[2]);
    free(none);
    const struct op_seccomp *seccomp = (const void *)((const char *)init.header + offsetof(__typeof__(good), seccomp));
    CHECK(seccomp->program->size == 8 && memcmp(seccomp->program->bytes, "\1\2\3\4\5\6\7\010", 8) == 0);
    unload(&init, SIZE);
}

static void cut_off(void) {
    struct init init = {.report = -1};
    for (size_t size = 0; size < SIZE; size++)
        CHECK(!loads(&good, size, &init));
    char longer[SIZE + 1] = {0};
    memcpy(longer, &good, SIZE);
    CHECK(!loads(longer, sizeof(longer), &init));
}

static void damaged(void) {
    int accepted = 0;
    for (int round = 0; round < 20000; round++) {
        struct init init = {.report = -1};
        unsigned char bytes[SIZE];
        memcpy(bytes, &good, SIZE);
        for (uint32_t flips = 1 + noise() % 4; flips > 0; flips--)
            bytes[noise() % sizeof(bytes)] ^= (unsigned char)(1 << noise() % 8);
        if (!loads(bytes, sizeof(bytes), &init))
            continue;
        accepted++;
        walk(&init);
        unload(&init, SIZE);
    }
    CHECK(accepted > 1000); /* most flips hit what any number may be in */
}

/* One wrong thing each, which none but its own check would find. */
static void refused(void) {
    struct init init = {.report = -1};
    struct {
        void *at;
        int64_t value;
        size_t size;
    } changes[] = {
        {&good.header.magic, 1, 4},
        {&good.header.operations_size, 0, 4},
        {&good.header.operations_size, good.header.operations_size - 8, 4},
        {&good.header.operations_size, good.header.operations_size + 8, 4},
        {&good.header.operations_size, -1, 4},
        {&good.header.strings_size, 0, 4},
        {&good.header.strings_size, -1, 4},
        {&good.setsid.op.kind, PLAN_NONE, 4},
        {&good.setsid.op.kind, PLAN_KINDS, 4},
        {&good.setsid.op.kind, PLAN_CREATED, 0}, /* size 0: no change, to see that the loop finds one that is taken */
        {&good.setsid.op.where, sizeof(STRINGS), 4},
        {&good.open_tree.path, sizeof(STRINGS), 8},
        {&good.open_tree.path, -1, 8},
        {&good.open_tree.slot, PLAN_SLOTS_MAX, 8},
        {&good.open_tree.slot, -1, 8},
        {&good.open_tree.recursive, 2, 8},
        {&good.hook.args, NOTHING, 8}, /* no argv[0] */
        {&good.hook.timeout, 1LL << 32, 8},
        {&good.program.args, NOTHING, 8},
        {&good.user.umask, 1LL << 31, 8},
        {&good.user.umask, -(1LL << 31) - 1, 8},
        {&good.user.uid, -1, 8},
        {&good.seccomp.program, PROGRAM + 1, 8},  /* not at a multiple of 8 */
        {&good.seccomp.program, PROGRAM + 8, 8},  /* what is no number of bytes */
        {&good.seccomp.program, PROGRAM + 16, 8}, /* no room for a number */
        {&good.strings[PROGRAM], 10, 1},          /* one byte more than there is */
        {&good.strings[PROGRAM + 7], '\x80', 1},
        {&good.execve.op.kind, PLAN_SETSID, 4},        /* does not end with the execve */
        {&good.strings[ARGUMENTS], '9' | '9' << 8, 2}, /* more texts than there are */
        {&good.strings[sizeof(STRINGS) - 1], 'x', 1},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        int64_t before = 0;
        memcpy(&before, changes[i].at, changes[i].size);
        memcpy(changes[i].at, &changes[i].value, changes[i].size);
        bool taken = loads(&good, SIZE, &init);
        memcpy(changes[i].at, &before, changes[i].size);
        if (taken != (changes[i].size == 0)) {
            fprintf(stderr, "plan: change %zu: taken: %d\n", i, taken);
            exit(1);
        }
    }
}

int main(void) {
    whole();
    cut_off();
    damaged();
    refused();
    return 0;
}
