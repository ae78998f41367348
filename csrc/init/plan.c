/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the plan from its memfd, and checks all of it before anything is done. After that, every offset, list, number
 * and slot of the operations is valid, and offsets have become pointers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

/* The types of the fields of each operation, one letter each. */
#define TEXT(field) "t"
#define LIST(field) "l"
#define ARGV(field) "a"
#define BYTES(field) "y"
#define SLOT(field) "s"
#define INT32(field) "i"
#define UINT32(field) "u"
#define UINT64(field) "U"
#define BOOL(field) "b"
#define ERRNOS(field) "U"
#define OPERATION(KIND, name, fields) [PLAN_##KIND] = "" fields,
static const char *const signatures[PLAN_KINDS] = {
#include "operations.def"
};

size_t operation_size(const struct plan_op *op) {
    return sizeof(*op) + 8 * strlen(signatures[op->kind]);
}

const struct plan_op *next_operation(const struct init *init, enum plan_kind kind) {
    const char *at = (const char *)init->op;
    while (at < init->strings && ((const struct plan_op *)at)->kind != kind)
        at += operation_size((const struct plan_op *)at);
    return at < init->strings ? (const struct plan_op *)at : NULL;
}

/* The strings of a plan. */
struct area {
    char *start;
    uint64_t size;
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

/* Returns whether a list has at least `least` texts and ends before `end`, which is a NUL. */
static bool list_is_whole(const char *list, const char *end, size_t least) {
    size_t count;
    const char *item = list_first(list, &count);
    if (count < least)
        return false;
    for (; count > 0 && item < end; count--)
        item += strlen(item) + 1;
    return count == 0;
}

static bool bytes_are_whole(const struct area *area, uint64_t offset) {
    struct plan_bytes head;
    if (offset % 8 || area->size - offset < sizeof(head))
        return false;
    memcpy(&head, area->start + offset, sizeof(head));
    return head.size <= area->size - offset - sizeof(head);
}

/* Checks a word by its letter, and turns an offset into a pointer. */
static bool take_word(uint64_t *word, char letter, const struct area *area) {
    uint64_t value = *word;
    switch (letter) {
    case 's':
        return value < PLAN_SLOTS_MAX;
    case 'i':
        return (int64_t)value >= INT32_MIN && (int64_t)value <= INT32_MAX;
    case 'u':
        return value <= UINT32_MAX;
    case 'b':
        return value <= 1;
    case 'U':
        return true;
    }
    if (value >= area->size)
        return false;
    char *text = area->start + value;
    *word = (uint64_t)(uintptr_t)text;
    if (letter == 'y')
        return bytes_are_whole(area, value);
    return letter == 't' || list_is_whole(text, area->start + area->size, letter == 'a');
}

/* Checks the operation at `op`, which has `room` bytes. Returns its size, or 0 if it is not valid. */
static size_t take_operation(struct plan_op *op, size_t room, const struct area *area) {
    if (room < sizeof(*op) || op->kind == PLAN_NONE || op->kind >= PLAN_KINDS || op->where >= area->size)
        return 0;
    size_t size = operation_size(op);
    if (size > room)
        return 0;
    uint64_t *words = (uint64_t *)(op + 1);
    for (const char *letter = signatures[op->kind]; *letter; letter++, words++)
        if (!take_word(words, *letter, area))
            return 0;
    return size;
}

static bool take_plan(struct plan_header *header, size_t size) {
    if (header->magic != PLAN_MAGIC || header->operations_size == 0 || header->strings_size == 0 ||
        header->operations_size % 8 || size != sizeof(*header) + (size_t)header->operations_size + header->strings_size)
        return false;
    char *at = (char *)(header + 1);
    struct area area = {at + header->operations_size, header->strings_size};
    if (area.start[area.size - 1] != '\0')
        return false;
    uint32_t last = PLAN_NONE;
    while (at < area.start) {
        struct plan_op *op = (struct plan_op *)at;
        size_t taken = take_operation(op, (size_t)(area.start - at), &area);
        if (taken == 0)
            return false;
        last = op->kind;
        at += taken;
    }
    return last == PLAN_EXECVE;
}

int load_plan(struct init *init, int fd) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    size_t size = (size_t)st.st_size;
    if (size < sizeof(struct plan_header))
        return errno = EBADMSG, -1;
    struct plan_header *header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (header == MAP_FAILED)
        return -1;
    if (!take_plan(header, size)) {
        munmap(header, size);
        return errno = EBADMSG, -1;
    }
    close(fd);
    init->header = header;
    init->op = (const struct plan_op *)(header + 1);
    init->strings = (const char *)init->op + header->operations_size;
    init->report = header->fds.sync;
    return 0;
}
