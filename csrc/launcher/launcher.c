/* SPDX-License-Identifier: Apache-2.0
 *
 * The pyoci command: CPython embedded, isolated, with nothing from the caller's environment.
 *
 * An OCI runtime is a short process whose cost is its start, and it runs as root on behalf of others. It therefore uses
 * no site module, no PYTHON* variables, no user directories and no locale. Every directory of sys.path is derived from
 * the place of this file (/proc/self/exe) or fixed at build time. The interpreter is not finalised at the end, because
 * the kernel is faster.
 *
 * setup.py defines PYOCI_STDLIB and PYOCI_DYNLOAD (directories of the standard library), PYOCI_PREFIX (its prefix)
 * and PYOCI_LAYOUTS (place.h).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "place.h"
#include "start.h"

/* relative: a path below directory, which may begin with "../"; absolute if directory is empty. */
static PyStatus append_path(PyConfig *config, const char *directory, const char *relative) {
    char path[PATH_MAX + 64];
    wchar_t *wide;
    PyStatus status;

    join(path, sizeof(path), directory, relative);
    wide = Py_DecodeLocale(path, NULL);
    if (!wide)
        return PyStatus_NoMemory();
    status = PyWideStringList_Append(&config->module_search_paths, wide);
    PyMem_RawFree(wide);
    return status;
}

/* The standard library comes first, so that nothing beside pyoci can replace a part of it. */
static PyStatus set_paths(PyConfig *config, const char *program, const char *directory, const struct layout *layout) {
    const struct {
        wchar_t **field;
        const char *value;
    } strings[] = {
        {&config->program_name, program},     {&config->executable, program},
        {&config->base_executable, program},  {&config->home, PYOCI_PREFIX},
        {&config->prefix, PYOCI_PREFIX},      {&config->base_prefix, PYOCI_PREFIX},
        {&config->exec_prefix, PYOCI_PREFIX}, {&config->base_exec_prefix, PYOCI_PREFIX},
    };
    PyStatus status;

    for (size_t i = 0; i < COUNT(strings); i++) {
        status = PyConfig_SetBytesString(config, strings[i].field, strings[i].value);
        if (PyStatus_Exception(status))
            return status;
    }
    config->module_search_paths_set = 1;
    status = append_path(config, "", PYOCI_STDLIB);
    if (!PyStatus_Exception(status))
        status = append_path(config, directory, layout->package);
    if (!PyStatus_Exception(status) && layout->dependencies[0])
        status = append_path(config, directory, layout->dependencies);
    if (!PyStatus_Exception(status))
        status = append_path(config, "", PYOCI_DYNLOAD);
    return status;
}

/* Checks that the standard library exists. CPython itself would print a screen full of paths. Returns 0 or 1. */
static int find_standard_library(void) {
    if (access(PYOCI_STDLIB "/encodings", R_OK) == 0)
        return 0;
    return fail(PYOCI_STDLIB, "the standard library of Python " PY_VERSION ", with which pyoci was built, is missing; "
                              "install that Python, or build pyoci again");
}

static PyStatus initialize(int argc, char **argv, const char *program, const char *directory,
                           const struct layout *layout) {
    PyConfig config;
    PyStatus status;

    isolate(&config);
    status = set_paths(&config, program, directory, layout);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

/* Sets what `pyoci --version` shows of its interpreter. */
static int announce(void) {
    PyObject *text = PyUnicode_FromFormat("embedded CPython %s", PY_VERSION);
    int result = text ? PySys_SetObject("pyoci_launcher", text) : -1;

    Py_XDECREF(text);
    return result;
}

/* Calls pyoci.cli.main.main(sys.argv[1:]). Returns its exit status, or -1 with an exception set. */
static int call_main(void) {
    PyObject *module, *argv, *arguments, *result;
    long status = -1;

    if (announce() < 0)
        return -1;
    module = PyImport_ImportModule("pyoci.cli.main");
    if (!module)
        return -1;
    argv = PySys_GetObject("argv");
    arguments = argv ? PyList_GetSlice(argv, 1, PyList_GET_SIZE(argv)) : NULL;
    result = arguments ? PyObject_CallMethod(module, "main", "O", arguments) : NULL;
    if (result)
        status = result == Py_None ? 0 : PyLong_AsLong(result);
    Py_XDECREF(result);
    Py_XDECREF(arguments);
    Py_DECREF(module);
    return (int)status;
}

/* Flushes one standard stream. A stream may be None if its descriptor was closed. */
static int flush(const char *name) {
    PyObject *stream = PySys_GetObject(name), *result;

    if (!stream || stream == Py_None)
        return 0;
    result = PyObject_CallMethod(stream, "flush", NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int main(int argc, char **argv) {
    char program[PATH_MAX], directory[PATH_MAX];
    const struct layout *layout;
    PyStatus status;
    int result;

    survive_file_size_limit();
    if (own_path(program, directory, sizeof(program)))
        return 1;
    layout = find_layout(directory);
    if (!layout || find_standard_library())
        return 1;
    status = preinitialize();
    if (!PyStatus_Exception(status))
        status = initialize(argc, argv, program, directory, layout);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    result = call_main();
    if (PyErr_Occurred()) {
        PyErr_Print(); /* ends the process itself for SystemExit */
        result = 1;
    }
    if (flush("stdout") < 0) {
        PyErr_Clear();
        fail("write standard output", "not all of it could be written");
        result = result ? result : 1;
    }
    if (flush("stderr") < 0)
        result = result ? result : 1;
    _exit(result);
}
