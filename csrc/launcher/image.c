/* SPDX-License-Identifier: Apache-2.0
 *
 * The pyoci command as an image: a static program that contains an interpreter which has already started.
 *
 * Starting CPython and importing pyoci takes several times as long as a verb. Both therefore happen once, at build
 * time: the program runs, imports everything that verbs need (image.py), and writes a copy of itself whose data
 * sections hold its current memory. When the copy runs, it continues from there. It is like a child of fork(2) that is
 * stored in a file, and it does what a child must do after a fork, PyOS_AfterFork_Child.
 *
 * For this to be sound, all of Python's state must be in the copy, and none of libc's:
 *   - make_image.py renames the data sections of libpython and of the extension modules, so that they lie together,
 *     apart from libc's. It also redirects their malloc family to kept_malloc, which serves from a heap that is a
 *     section too (heap.c).
 *   - The program is static and has fixed addresses, so that every pointer has the same meaning in both processes.
 *   - When the copy is written, no thread runs, no file is open, and the thread state is detached.
 *   - What comes from outside (arguments, environment, own path) is set when the copy starts. image.py checks that
 *     nothing else is kept: no module that remembers signal handlers, no standard streams.
 * Other memory of the copy comes from libc. Hash randomisation uses one secret per build.
 *
 * make_image.py defines PYOCI_STDLIB, PYOCI_PREFIX and PYOCI_LAYOUTS.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "heap.h"
#include "place.h"
#include "start.h"

/* The linker defines these symbols for sections whose names are C identifiers. */
extern char __start_pydata[], __stop_pydata[], __start_pybss[], __stop_pybss[];
extern char __start_pyruntime[], __stop_pyruntime[];

/* What the copy must know, kept like Python's data. */
static struct {
    PyThreadState *thread;
    PyObject *environ; /* posix.environ */
    PyObject *main;    /* image.main */
} kept __attribute__((section("pydata")));

PyMODINIT_FUNC PyInit__cffi_backend(void);
PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__seccomp(void);
PyMODINIT_FUNC PyInit__json(void);
PyMODINIT_FUNC PyInit_termios(void);

/* getpwuid_r(3) without the modules of nsswitch.conf, which a static program cannot load: /etc/passwd alone. */
int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **found) {
    FILE *file = fopen("/etc/passwd", "re");
    int error = file ? 0 : errno;

    *found = NULL;
    while (!error && !(error = fgetpwent_r(file, entry, buffer, size, found)) && entry->pw_uid != uid)
        *found = NULL;
    if (file)
        fclose(file);
    return error == ENOENT ? 0 : error;
}

/* --- building ----------------------------------------------------------------------------------------------------- */

static int add_modules(void) {
    heap_serve_arenas();
    if (PyImport_AppendInittab("_cffi_backend", PyInit__cffi_backend) ||
        PyImport_AppendInittab("pyoci._native", PyInit__native) ||
        PyImport_AppendInittab("pyoci._seccomp", PyInit__seccomp) || PyImport_AppendInittab("_json", PyInit__json) ||
        PyImport_AppendInittab("termios", PyInit_termios) || PyImport_AppendInittab("_builder", PyInit__builder))
        return fail("build the image", "out of memory");
    return 0;
}

static PyStatus set_config(PyConfig *config, int argc, char **argv) {
    wchar_t **const places[] = {&config->program_name, &config->executable,      &config->base_executable,
                                &config->home,         &config->prefix,          &config->base_prefix,
                                &config->exec_prefix,  &config->base_exec_prefix};
    PyStatus status = PyStatus_Ok();
    wchar_t *stdlib = Py_DecodeLocale(PYOCI_STDLIB, NULL);

    config->use_hash_seed = 1;
    config->hash_seed = (unsigned long)atol(argv[argc - 1]);
    config->module_search_paths_set = 1;
    for (size_t i = 0; i < COUNT(places) && !PyStatus_Exception(status); i++)
        status = PyConfig_SetBytesString(config, places[i], PYOCI_PREFIX);
    if (!PyStatus_Exception(status))
        status = stdlib ? PyWideStringList_Append(&config->module_search_paths, stdlib) : PyStatus_NoMemory();
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesArgv(config, argc, argv);
    PyMem_RawFree(stdlib);
    return status;
}

static void start_python(int argc, char **argv) {
    PyConfig config;
    PyStatus status = preinitialize();

    heap_serve_objects();
    isolate(&config);
    if (!PyStatus_Exception(status))
        status = set_config(&config, argc, argv);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* Runs image.py and keeps the objects that the copy needs. */
static int run_script(const char *path) {
    FILE *script = fopen(path, "re");
    PyObject *module, *posix;

    if (!script)
        return fail(path, strerror(errno));
    if (PyRun_SimpleFileEx(script, path, 1))
        return 1;
    module = PyImport_AddModule("__main__");
    posix = PyImport_ImportModule("posix");
    kept.main = module ? PyObject_GetAttrString(module, "main") : NULL;
    kept.environ = posix ? PyObject_GetAttrString(posix, "environ") : NULL;
    if (kept.main && kept.environ)
        return 0;
    PyErr_Print();
    return 1;
}

/* Overwrites a part of the program's file with the memory at its address. */
static int put(char *file, const char *start, const char *end) {
    const Elf64_Ehdr *header = (void *)file;
    const Elf64_Phdr *segment = (void *)(file + header->e_phoff);

    for (int i = 0; i < header->e_phnum; i++) {
        uintptr_t offset = (uintptr_t)start - segment[i].p_vaddr;

        if (segment[i].p_type == PT_LOAD && offset + (size_t)(end - start) <= segment[i].p_filesz) {
            memcpy(file + segment[i].p_offset + offset, start, (size_t)(end - start));
            return 0;
        }
    }
    return fail("build the image", "a section is not in the program's file");
}

static int write_copy(const char *path, const char *heap_end) {
    int input = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    struct stat found;
    char *file;

    if (input < 0 || output < 0 || fstat(input, &found) < 0)
        return fail(path, strerror(errno));
    file = mmap(NULL, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, input, 0);
    if (file == MAP_FAILED)
        return fail(path, strerror(errno));
    if (put(file, __start_pydata, __stop_pydata) || put(file, __start_pybss, __stop_pybss) ||
        put(file, __start_pyruntime, __stop_pyruntime) || put(file, heap, heap_end))
        return 1;
    for (off_t done = 0; done < found.st_size;) {
        ssize_t count = write(output, file + done, (size_t)(found.st_size - done));

        if (count < 0)
            return fail(path, strerror(errno));
        done += count;
    }
    return close(output) ? fail(path, strerror(errno)) : 0;
}

/* image OUTPUT image.py MODULES ZONES hot.py SEED: writes ZONES if it is not there, else OUTPUT. */
static int build(int argc, char **argv) {
    if (argc != 7)
        return fail("build the image", "takes OUTPUT image.py MODULES ZONES hot.py SEED");
    if (heap_read_zones(argv[4]) || add_modules())
        return 1;
    start_python(argc, argv);
    if (run_script(argv[2]))
        return 1;
    if (!heap_knows_zones())
        return heap_list_zones(argv[4], argv[5]);
    kept.thread = PyEval_SaveThread();
    return write_copy(argv[1], heap_finish());
}

/* --- running ------------------------------------------------------------------------------------------------------ */

/* Fills posix.environ, which os.environ shows, as the interpreter does: the first of two equal names counts. */
static int fill_environ(char **environment) {
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        PyObject *name, *value;
        int failed;

        if (!equals)
            continue;
        name = PyBytes_FromStringAndSize(*environment, equals - *environment);
        value = PyBytes_FromString(equals + 1);
        failed = !name || !value || !PyDict_SetDefault(kept.environ, name, value);
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

static PyObject *words(int argc, char **argv) {
    PyObject *list = PyList_New(argc);

    for (int i = 0; list && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(argv[i]);

        if (!word) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, word);
    }
    return list;
}

/* Calls image.main(program, library, arguments). Returns its exit status, or -1 with an exception set. */
static int call_main(int argc, char **argv, const char *program, const char *library) {
    PyObject *arguments, *result;
    long status = -1;

    if (fill_environ(environ) < 0)
        return -1;
    arguments = words(argc, argv);
    if (!arguments)
        return -1;
    result = PyObject_CallFunction(kept.main, "NNN", PyUnicode_DecodeFSDefault(program),
                                   PyUnicode_DecodeFSDefault(library), arguments);
    if (result)
        status = PyLong_AsLong(result);
    Py_XDECREF(result);
    return (int)status;
}

int main(int argc, char **argv) {
    char program[PATH_MAX], directory[PATH_MAX], library[PATH_MAX + 64];
    const struct layout *layout;
    int result;

    if (!heap_complete())
        return build(argc, argv);
    survive_file_size_limit();
    if (own_path(program, directory, sizeof(program)))
        return 1;
    layout = find_layout(directory);
    if (!layout)
        return 1;
    join(library, sizeof(library), directory, layout->package);
    heap_map_hot();
    PyEval_RestoreThread(kept.thread);
    PyOS_AfterFork_Child();
    result = call_main(argc, argv, program, library);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        result = fail("internal error", "the verb ended with an uncaught exception");
    }
    _exit(result);
}
