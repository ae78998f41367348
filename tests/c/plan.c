/* SPDX-License-Identifier: Apache-2.0
 *
 * The loader of plans against plans that are cut off or damaged: either it refuses, or nothing leads out of the plan.
 */
#include "../../csrc/init/plan.c"

#include "check.h"

#define STRINGS                                                                                                        \
    "\0"             /* 0: the empty text */                                                                           \
    "/path\0"        /* 1 */                                                                                           \
    "3\0ls\0-l\0/\0" /* 7: a list */                                                                                   \
    "1\0A=b\0"       /* 17: a list */                                                                                  \
    "0\0"            /* 23: a list of nothing */
enum { PATH = 1, ARGV = 7, ENV = 17, NOTHING = 23 };

static struct {
    struct plan_header header;
    struct plan_op ops[9];
    char strings[sizeof(STRINGS)];
} good = {
    .header = {.magic = PLAN_MAGIC, .op_count = 9, .strings_size = sizeof(STRINGS), .fds = {.sync = 4, .start = 5}},
    .ops = {{.kind = PLAN_SETSID},
            {.kind = PLAN_OPEN_TREE, .text = {0, PATH, 0, 0}, .num = {PLAN_SLOTS_MAX - 1}},
            {.kind = PLAN_MOUNT, .text = {PATH, PATH, PATH, NOTHING}},
            {.kind = PLAN_HOOK, .text = {0, PATH, ARGV, ENV}},
            {.kind = PLAN_ENVIRONMENT, .text = {0, 0, ENV, 0}},
            {.kind = PLAN_PROGRAM, .text = {0, 0, ARGV, 0}},
            {.kind = PLAN_USER, .text = {0, 0, NOTHING, 0}},
            {.kind = PLAN_SECCOMP, .text = {0, 0, 0, 0}, .num = {8}},
            {.kind = PLAN_EXEC}},
    .strings = STRINGS,
};

enum { SIZE = sizeof(struct plan_header) + sizeof(good.ops) + sizeof(STRINGS) }; /* no padding at the end */

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

/* Follows all that operations would follow; each byte must be the plan's. */
static void walk(const struct init *init) {
    const char *end = init->strings + init->header->strings_size;
    CHECK(init->ops[init->header->op_count - 1].kind == PLAN_EXEC);
    for (uint32_t i = 0; i < init->header->op_count; i++) {
        const struct plan_op *op = &init->ops[i];
        CHECK(op->kind < PLAN_KINDS);
        for (int which = 0; which < PLAN_TEXTS; which++) {
            const char *one = text(init, op, (enum plan_text)which);
            CHECK(one >= init->strings && one + strlen(one) < end);
            if (!(lists[op->kind] >> which & 1))
                continue;
            char **array = list_array(one, 0);
            CHECK(array);
            for (char **item = array; *item; item++)
                CHECK(*item > one && *item + strlen(*item) < end);
            CHECK(op->kind != PLAN_PROGRAM || array[0]);
            free(array);
        }
        if (op->kind == PLAN_OPEN_TREE || op->kind == PLAN_BIND)
            CHECK(op->num[0] >= 0 && op->num[0] < PLAN_SLOTS_MAX);
        if (op->kind == PLAN_SECCOMP)
            CHECK(op->num[0] >= 0 && text(init, op, PLAN_DATA) + op->num[0] <= end);
    }
}

static void whole(void) {
    struct init init = {.report = -1};
    size_t count;
    CHECK(loads(&good, SIZE, &init));
    walk(&init);
    CHECK(init.report == 4);
    const char *first = list_first(text(&init, &init.ops[3], PLAN_DATA), &count);
    CHECK(count == 3 && strcmp(first, "ls") == 0);
    char **argv = list_array(text(&init, &init.ops[3], PLAN_DATA), 1);
    CHECK(strcmp(argv[1], "-l") == 0 && strcmp(argv[2], "/") == 0 && !argv[3] && !argv[4]);
    free(argv);
    char **none = list_array(init.strings, 2); /* offset 0, the empty text, is a list of nothing */
    CHECK(!none[0] && !none[1] && !none[2]);
    free(none);
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
        {&good.header.op_count, 0, 4},
        {&good.header.op_count, 8, 4},
        {&good.header.op_count, -1, 4},
        {&good.header.strings_size, 0, 4},
        {&good.header.strings_size, -1, 4},
        {&good.ops[0].kind, PLAN_KINDS, 4},
        {&good.ops[0].text[PLAN_WHERE], sizeof(STRINGS), 4},
        {&good.ops[1].num[0], PLAN_SLOTS_MAX, 8},
        {&good.ops[1].num[0], -1, 8},
        {&good.ops[5].text[PLAN_DATA], NOTHING, 4}, /* no argv[0] */
        {&good.ops[7].num[0], sizeof(STRINGS) + 1, 8},
        {&good.ops[7].num[0], -1, 8},
        {&good.ops[8].kind, PLAN_SETSID, 4}, /* does not end with the execve */
        {&good.strings[ARGV], '9', 1},       /* more texts than there are */
        {&good.strings[sizeof(STRINGS) - 1], 'x', 1},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        int64_t before = 0;
        memcpy(&before, changes[i].at, changes[i].size);
        memcpy(changes[i].at, &changes[i].value, changes[i].size);
        bool taken = loads(&good, SIZE, &init);
        memcpy(changes[i].at, &before, changes[i].size);
        if (taken) {
            fprintf(stderr, "plan: change %zu was taken\n", i);
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
