/* SPDX-License-Identifier: Apache-2.0
 *
 * The module termios of the image. It replaces the parts of CPython's termios that pyoci calls: distributions ship that
 * module only as a shared library, which a static program cannot load. Source: termios(3).
 *
 *     tcgetattr(fd) -> [iflag, oflag, cflag, lflag, ispeed, ospeed, [bytes, ...]]
 *     tcsetattr(fd, when, attributes)                          VMIN and VTIME may be numbers
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <sys/ioctl.h>
#include <termios.h>

static PyObject *error;

static PyObject *get(PyObject *module, PyObject *args) {
    struct termios mode;
    PyObject *characters;
    int fd;

    (void)module;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    if (tcgetattr(fd, &mode) < 0)
        return PyErr_SetFromErrno(error);
    characters = PyList_New(NCCS);
    for (int i = 0; characters && i < NCCS; i++) {
        /* As in CPython's termios, these two are numbers unless the terminal reads lines. */
        int is_number = (i == VMIN || i == VTIME) && !(mode.c_lflag & ICANON);
        PyObject *one = is_number ? PyLong_FromLong(mode.c_cc[i]) : PyBytes_FromStringAndSize((char *)&mode.c_cc[i], 1);

        if (!one)
            Py_CLEAR(characters);
        else
            PyList_SET_ITEM(characters, i, one);
    }
    if (!characters)
        return NULL;
    return Py_BuildValue("[IIIIIIN]", mode.c_iflag, mode.c_oflag, mode.c_cflag, mode.c_lflag, cfgetispeed(&mode),
                         cfgetospeed(&mode), characters);
}

static int set_character(struct termios *mode, int index, PyObject *value) {
    long number;

    if (PyBytes_Check(value) && PyBytes_GET_SIZE(value) == 1) {
        mode->c_cc[index] = (cc_t)PyBytes_AS_STRING(value)[0];
        return 0;
    }
    number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    mode->c_cc[index] = (cc_t)number;
    return 0;
}

static PyObject *set(PyObject *module, PyObject *args) {
    struct termios mode;
    PyObject *attributes, *characters;
    unsigned input, output;
    int fd, when;

    (void)module;
    if (!PyArg_ParseTuple(args, "iiO!", &fd, &when, &PyList_Type, &attributes))
        return NULL;
    if (tcgetattr(fd, &mode) < 0)
        return PyErr_SetFromErrno(error);
    attributes = PyList_AsTuple(attributes);
    if (!attributes)
        return NULL;
    if (!PyArg_ParseTuple(attributes, "IIIIIIO!", &mode.c_iflag, &mode.c_oflag, &mode.c_cflag, &mode.c_lflag, &input,
                          &output, &PyList_Type, &characters))
        goto out;
    if (PyList_GET_SIZE(characters) != NCCS) {
        PyErr_SetString(PyExc_TypeError, "tcsetattr: the list of characters has the wrong length");
        goto out;
    }
    for (int i = 0; i < NCCS; i++)
        if (set_character(&mode, i, PyList_GET_ITEM(characters, i)) < 0)
            goto out;
    if (cfsetispeed(&mode, input) < 0 || cfsetospeed(&mode, output) < 0 || tcsetattr(fd, when, &mode) < 0)
        PyErr_SetFromErrno(error);
out:
    Py_DECREF(attributes);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"tcgetattr", get, METH_VARARGS, NULL}, {"tcsetattr", set, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "termios", NULL, -1, methods, NULL, NULL, NULL, NULL};

static const struct {
    const char *name;
    long value;
} numbers[] = {{"IGNBRK", IGNBRK},
               {"BRKINT", BRKINT},
               {"PARMRK", PARMRK},
               {"ISTRIP", ISTRIP},
               {"INLCR", INLCR},
               {"IGNCR", IGNCR},
               {"ICRNL", ICRNL},
               {"IXON", IXON},
               {"OPOST", OPOST},
               {"ONLCR", ONLCR},
               {"CSIZE", CSIZE},
               {"PARENB", PARENB},
               {"CS8", CS8},
               {"ECHO", ECHO},
               {"ECHONL", ECHONL},
               {"ICANON", ICANON},
               {"ISIG", ISIG},
               {"IEXTEN", IEXTEN},
               {"VMIN", VMIN},
               {"VTIME", VTIME},
               {"VEOF", VEOF},
               {"TCSANOW", TCSANOW},
               {"TCSADRAIN", TCSADRAIN},
               {"TCSAFLUSH", TCSAFLUSH},
               {"TIOCSWINSZ", TIOCSWINSZ},
               {"TIOCGWINSZ", TIOCGWINSZ}};

PyMODINIT_FUNC PyInit_termios(void) {
    PyObject *module = PyModule_Create(&definition);

    error = PyErr_NewException("termios.error", NULL, NULL);
    if (!module || !error || PyModule_AddObjectRef(module, "error", error) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (PyModule_AddIntConstant(module, numbers[i].name, numbers[i].value) < 0)
            return NULL;
    return module;
}
