/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes the plan from its memfd, and judges it as a whole before anything of it is done: after this, no offset, list or
 * slot of an operation leads astray.
 */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

/* The texts that are lists, a bit for each enum plan_text. */
static const uint8_t lists[PLAN_KINDS] = {
    [PLAN_MOUNT] = 1 << PLAN_MORE,       [PLAN_HOOK] = 1 << PLAN_DATA | 1 << PLAN_MORE,
    [PLAN_ENVIRONMENT] = 1 << PLAN_DATA, [PLAN_PROGRAM] = 1 << PLAN_DATA,
    [PLAN_USER] = 1 << PLAN_DATA,        [PLAN_SCHEDULER] = 1 << PLAN_DATA,
};

const char *list_first(const char *list, size_t *count) {
    *count = strtoul(list, NULL, 10);
    return list + strlen(list) + 1;
}

char **list_array(const char *list, size_t extra) {
    size_t count;
    const char *item = list_first(list, &count);
    char **array = calloc(count + extra + 1, sizeof(char *));
    for (size_t i = 0; array && i < count; i++, item += strlen(item) + 1)
        array[i] = (char *)item;
    return array;
}

/* Whether all texts of a list end before `end`, where a NUL stands. */
static bool list_is_whole(const char *list, const char *end) {
    size_t count;
    const char *item = list_first(list, &count);
    for (; count > 0 && item < end; count--)
        item += strlen(item) + 1;
    return count == 0;
}

static bool operation_is_whole(const struct plan_op *op, const char *strings, uint32_t size) {
    if (op->kind >= PLAN_KINDS)
        return false;
    for (int i = 0; i < PLAN_TEXTS; i++)
        if (op->text[i] >= size || (lists[op->kind] >> i & 1 && !list_is_whole(strings + op->text[i], strings + size)))
            return false;
    switch (op->kind) {
    case PLAN_PROGRAM: /* execve takes an empty argv for a fault of ours, and rightly */
        return strtoul(strings + op->text[PLAN_DATA], NULL, 10) > 0;
    case PLAN_OPEN_TREE:
    case PLAN_BIND:
        return op->num[0] >= 0 && op->num[0] < PLAN_SLOTS_MAX;
    case PLAN_SECCOMP:
        return op->num[0] >= 0 && op->num[0] <= (int64_t)(BPF_MAXINSNS * sizeof(struct sock_filter)) &&
               op->num[0] <= (int64_t)(size - op->text[PLAN_DATA]);
    default:
        return true;
    }
}

static bool is_whole(const struct plan_header *header, size_t size) {
    if (header->magic != PLAN_MAGIC || header->op_count == 0 || header->strings_size == 0 ||
        size != sizeof(*header) + header->op_count * sizeof(struct plan_op) + header->strings_size)
        return false;
    const struct plan_op *ops = (const void *)(header + 1);
    const char *strings = (const char *)(ops + header->op_count);
    if (strings[header->strings_size - 1] != '\0' || ops[header->op_count - 1].kind != PLAN_EXEC)
        return false;
    for (uint32_t i = 0; i < header->op_count; i++)
        if (!operation_is_whole(&ops[i], strings, header->strings_size))
            return false;
    return true;
}

int load_plan(struct init *init, int fd) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    size_t size = (size_t)st.st_size;
    if (size < sizeof(struct plan_header))
        return errno = EBADMSG, -1;
    const struct plan_header *header = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (header == MAP_FAILED)
        return -1;
    if (!is_whole(header, size)) {
        munmap((void *)header, size);
        return errno = EBADMSG, -1;
    }
    close(fd);
    init->header = header;
    init->ops = (const void *)(header + 1);
    init->strings = (const char *)(init->ops + header->op_count);
    init->report = header->fds.sync;
    return 0;
}
