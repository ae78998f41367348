/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap of the image (image.c). During the build it serves malloc(3) of libpython and of the extension modules, and
 * Python's allocators. Blocks lie in the order of their allocation, so what is created together lies together.
 *
 * Every page that a verb writes to becomes private, at 2 us each, even if only a reference count changes. The program
 * that makes the image therefore runs twice. The first run records the numbers of its hot and warm blocks; hot.py
 * determines which objects verbs touch. The second run allocates in exactly the same order, and puts these blocks into
 * zones of their own. The copy maps the hot zone with one system call.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fail.h"
#include "heap.h"

#define HEAP_SIZE ((size_t)16 << 20)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define UNIT 16          /* blocks begin at multiples of it */
#define BLOCKS (4 << 20) /* allocations during the build; practise() makes most of them */

/* What verbs use (hot), what lookups pass by (warm), and the rest. The kernel maps files in pieces of 64 KiB, and a
 * whole piece counts as memory in use. */
enum zone { COLD, WARM, HOT, ZONES };
static const struct {
    size_t begin, end;
} zones[ZONES] = {
    [HOT] = {0, 2 << 20},
    [WARM] = {2 << 20, 4 << 20},
    [COLD] = {4 << 20, HEAP_SIZE},
};

char heap[HEAP_SIZE] __attribute__((section("pyheap,\"aw\",@progbits#"), aligned(4096)));

/* Part of the copy, like Python's data. */
static struct {
    int complete;
    size_t used[ZONES];              /* allocated bytes */
    PyMemAllocatorEx memory, object; /* pymalloc, which serves the copy */
} kept __attribute__((section("pydata")));

/* Needed by the build only. It is in libc's sections, and so not in the copy. */
static struct {
    unsigned blocks;                   /* how many were allocated */
    unsigned number[HEAP_SIZE / UNIT]; /* number of the block that begins there, from 1 */
    char zone[BLOCKS];                 /* zone of each block, by number */
    int knows_zones;
    void *spare[ZONES][4096]; /* lists of freed blocks, by zone and size in units; each block holds the next address */
    FILE *list;               /* the output: numbers of hot and warm blocks */
} making;

static int is_kept(const void *memory) {
    return (uintptr_t)memory - (uintptr_t)heap < HEAP_SIZE;
}

/* Returns the size of a block with the eight bytes before it, which hold its size. */
static size_t whole(size_t size) {
    return (size + sizeof(size_t) + UNIT - 1) & ~(size_t)(UNIT - 1);
}

static int zone_of(const void *memory) {
    size_t place = (size_t)((const char *)memory - heap);

    return place < zones[HOT].end ? HOT : place < zones[WARM].end ? WARM : COLD;
}

static void **spare(int zone, size_t total) {
    return total / UNIT < COUNT(making.spare[0]) ? &making.spare[zone][total / UNIT] : NULL;
}

static void *take(int zone, size_t total) {
    size_t begin = zones[zone].begin + kept.used[zone];

    if (begin + total + UNIT > zones[zone].end) {
        fail("build the image", "HEAP_SIZE, or a zone, in csrc/launcher/heap.c is too small");
        abort();
    }
    kept.used[zone] += total;
    return heap + begin + UNIT;
}

/* malloc(3) for what the copy keeps. */
void *kept_malloc(size_t size) {
    size_t total = whole(size);
    void **list, *memory;
    int zone;

    if (kept.complete)
        return malloc(size);
    if (++making.blocks == COUNT(making.zone)) {
        fail("build the image", "more blocks than BLOCKS in csrc/launcher/heap.c");
        abort();
    }
    zone = making.zone[making.blocks];
    list = spare(zone, total);
    if (list && *list) {
        memory = *list;
        *list = *(void **)memory;
    } else {
        memory = take(zone, total);
    }
    ((size_t *)memory)[-1] = size;
    making.number[((char *)memory - heap) / UNIT] = making.blocks;
    return memory;
}

void *kept_calloc(size_t count, size_t size) {
    if (kept.complete)
        return calloc(count, size);
    if (size && count > HEAP_SIZE / size)
        return NULL;
    return memset(kept_malloc(count * size), 0, count * size);
}

/* The copy does not reuse blocks of the build, nor touch them: each page of them is a page of the file. */
void kept_free(void *memory) {
    void **list;

    if (!is_kept(memory)) {
        free(memory);
    } else if (!kept.complete) {
        list = spare(zone_of(memory), whole(((size_t *)memory)[-1]));
        if (list) {
            *(void **)memory = *list;
            *list = memory;
        }
    }
}

void *kept_realloc(void *memory, size_t size) {
    size_t old;
    void *moved;

    if (!is_kept(memory))
        return memory ? realloc(memory, size) : kept_malloc(size);
    old = ((size_t *)memory)[-1];
    moved = kept_malloc(size);
    if (moved) {
        memcpy(moved, memory, old < size ? old : size);
        kept_free(memory);
    }
    return moved;
}

/* Python's allocators during the build. Small objects are blocks of the heap too, in the order of their allocation. */
static void *object_malloc(void *context, size_t size) {
    (void)context;
    return kept_malloc(size);
}

static void *object_calloc(void *context, size_t count, size_t size) {
    (void)context;
    return kept_calloc(count, size);
}

static void *object_realloc(void *context, void *memory, size_t size) {
    (void)context;
    return kept_realloc(memory, size);
}

static void object_free(void *context, void *memory) {
    (void)context;
    kept_free(memory);
}

/* pymalloc's arenas, and the stack of Python's frames. */
static void *allocate_arena(void *context, size_t size) {
    void *memory;

    (void)context;
    if (!kept.complete)
        return kept_malloc(size);
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void free_arena(void *context, void *memory, size_t size) {
    (void)context;
    if (!is_kept(memory))
        munmap(memory, size);
}

int heap_read_zones(const char *path) {
    FILE *list = fopen(path, "re");
    unsigned number, zone;

    if (!list)
        return errno == ENOENT ? 0 : fail(path, strerror(errno));
    while (fscanf(list, "%u %u", &number, &zone) == 2)
        if (number < COUNT(making.zone) && zone < ZONES)
            making.zone[number] = (char)zone;
    making.knows_zones = 1;
    return fclose(list) ? fail(path, strerror(errno)) : 0;
}

/* Writes the zone of the block that holds the object at an address. The collector's two words may precede the object.
 * */
static void write_zone(uintptr_t address, int zone) {
    for (int words = 0; words <= 2; words += 2) {
        uintptr_t place = (address - (size_t)words * sizeof(void *) - (uintptr_t)heap) / UNIT;

        if (address % UNIT == 0 && place < COUNT(making.number) && making.number[place])
            fprintf(making.list, "%u %d\n", making.number[place], zone);
    }
}

/* The members that hot.py may name. */
static const struct {
    const char *name;
    size_t offset;
} members[] = {
    {"ma_keys", offsetof(PyDictObject, ma_keys)},
    {"ob_item", offsetof(PyListObject, ob_item)},
    {"ht_cached_keys", offsetof(PyHeapTypeObject, ht_cached_keys)},
    {"co_localsplusnames", offsetof(PyCodeObject, co_localsplusnames)},
    {"co_localspluskinds", offsetof(PyCodeObject, co_localspluskinds)},
    {"co_linetable", offsetof(PyCodeObject, co_linetable)},
    {"co_exceptiontable", offsetof(PyCodeObject, co_exceptiontable)},
};

/* mark(zone, address, member, ...): records that the block of an object, and the blocks that the named members point
 * to, belong to a zone. The last mark of a block counts. */
static PyObject *builder_mark(PyObject *module, PyObject *arguments) {
    int zone = (int)PyLong_AsLong(PyTuple_GET_ITEM(arguments, 0));
    uintptr_t address = PyLong_AsSize_t(PyTuple_GET_ITEM(arguments, 1));

    (void)module;
    if (PyErr_Occurred())
        return NULL;
    write_zone(address, zone);
    for (Py_ssize_t i = 2; i < PyTuple_GET_SIZE(arguments); i++)
        for (size_t j = 0; j < COUNT(members); j++)
            if (!PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(arguments, i), members[j].name))
                write_zone(*(uintptr_t *)(address + members[j].offset), zone);
    Py_RETURN_NONE;
}

static PyMethodDef builder_methods[] = {{"mark", builder_mark, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef builder = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_builder",
    .m_methods = builder_methods,
};

PyMODINIT_FUNC PyInit__builder(void) {
    PyObject *module = PyModule_Create(&builder);

    if (module && (PyModule_AddIntMacro(module, WARM) || PyModule_AddIntMacro(module, HOT)))
        Py_CLEAR(module);
    return module;
}

/* --- for image.c -------------------------------------------------------------------------------------------------- */

int heap_complete(void) {
    return kept.complete;
}

void heap_serve_arenas(void) {
    PyObjectArenaAllocator arenas = {NULL, allocate_arena, free_arena};

    PyObject_SetArenaAllocator(&arenas);
}

void heap_serve_objects(void) {
    PyMemAllocatorEx allocator = {NULL, object_malloc, object_calloc, object_realloc, object_free};

    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &kept.memory);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &kept.object);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &allocator);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &allocator);
}

int heap_knows_zones(void) {
    return making.knows_zones;
}

int heap_list_zones(const char *path, const char *script) {
    FILE *file = fopen(script, "re");
    int failed;

    if (!file)
        return fail(script, strerror(errno));
    making.list = fopen(path, "we");
    if (!making.list)
        return fail(path, strerror(errno));
    failed = PyRun_SimpleFileEx(file, script, 1);
    return fclose(making.list) || failed;
}

char *heap_finish(void) {
    kept.object.malloc(kept.object.ctx, 1); /* pymalloc allocates its tables and an arena now */
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &kept.memory);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &kept.object);
    kept.complete = 1;
    return heap + zones[COLD].begin + kept.used[COLD];
}

void heap_map_hot(void) {
    madvise(heap, kept.used[HOT], MADV_POPULATE_WRITE);
}
