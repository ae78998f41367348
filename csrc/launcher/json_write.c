/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer of the module _json (json.c). It writes strictly what RFC 8259 defines.
 */
#include "json.h"

/* Returns the escape of a character, or NULL if it needs none. buffer: 7 bytes. */
static const char *escape(Py_UCS4 c, char *buffer) {
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    const char *meaning = c ? strchr(meanings, (int)(c < 0x20 ? c : 0)) : NULL;

    if (c == '"' || c == '\\')
        snprintf(buffer, 7, "\\%c", (char)c);
    else if (meaning && *meaning)
        snprintf(buffer, 7, "\\%c", letters[meaning - meanings]);
    else if (c < 0x20)
        snprintf(buffer, 7, "\\u%04x", (unsigned)c);
    else
        return NULL;
    return buffer;
}

PyObject *json_quote(PyObject *module, PyObject *text) {
    Py_ssize_t length, size = 0;
    Py_UCS4 *buffer;
    PyObject *quoted;
    char escaped[7];

    (void)module;
    if (!PyUnicode_Check(text))
        return PyErr_Format(PyExc_TypeError, "a string is wanted, not %s", Py_TYPE(text)->tp_name);
    length = PyUnicode_GET_LENGTH(text);
    buffer = PyMem_New(Py_UCS4, length * 6 + 2);
    if (!buffer)
        return PyErr_NoMemory();
    buffer[size++] = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(text, i);
        const char *letters = escape(c, escaped);

        if (!letters)
            buffer[size++] = c;
        else
            while (*letters)
                buffer[size++] = (Py_UCS4)*letters++;
    }
    buffer[size++] = '"';
    quoted = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, buffer, size);
    PyMem_Free(buffer);
    return quoted;
}

static int write_value(PyObject *fallback, PyObject *parts, PyObject *value);

/* Appends a text, and releases it. */
static int append(PyObject *parts, PyObject *text) {
    int result = text ? PyList_Append(parts, text) : -1;

    Py_XDECREF(text);
    return result;
}

static int append_words(PyObject *parts, const char *words) {
    return append(parts, PyUnicode_FromString(words));
}

static int write_object(PyObject *fallback, PyObject *parts, PyObject *object) {
    PyObject *name, *value;
    Py_ssize_t position = 0;
    const char *before = "";

    if (append_words(parts, "{") < 0)
        return -1;
    while (PyDict_Next(object, &position, &name, &value)) {
        int failed = append_words(parts, before) < 0 || append(parts, json_quote(NULL, name)) < 0 ||
                     append_words(parts, ": ") < 0 || write_value(fallback, parts, value) < 0;

        if (failed)
            return -1;
        before = ", ";
    }
    return append_words(parts, "}");
}

static int write_array(PyObject *fallback, PyObject *parts, PyObject *array) {
    if (append_words(parts, "[") < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(array); i++) {
        if (append_words(parts, i ? ", " : "") < 0 ||
            write_value(fallback, parts, PySequence_Fast_GET_ITEM(array, i)) < 0)
            return -1;
    }
    return append_words(parts, "]");
}

static int write_container(PyObject *fallback, PyObject *parts, PyObject *value) {
    int result;

    if (Py_EnterRecursiveCall(" in a JSON document"))
        return -1;
    result = PyDict_Check(value) ? write_object(fallback, parts, value) : write_array(fallback, parts, value);
    Py_LeaveRecursiveCall();
    return result;
}

static int write_value(PyObject *fallback, PyObject *parts, PyObject *value) {
    if (PyUnicode_Check(value))
        return append(parts, json_quote(NULL, value));
    if (value == Py_None || value == Py_True || value == Py_False)
        return append_words(parts, value == Py_None ? "null" : value == Py_True ? "true" : "false");
    if (PyLong_Check(value))
        return append(parts, PyLong_Type.tp_repr(value));
    if (PyFloat_Check(value)) {
        if (Py_IS_FINITE(PyFloat_AS_DOUBLE(value)))
            return append(parts, PyFloat_Type.tp_repr(value));
        PyErr_SetString(PyExc_ValueError, "Out of range float values are not JSON compliant");
        return -1;
    }
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value))
        return write_container(fallback, parts, value);
    value = PyObject_CallOneArg(fallback, value);
    if (value) {
        int result = write_value(fallback, parts, value);

        Py_DECREF(value);
        return result;
    }
    return -1;
}

PyObject *json_encode(PyObject *fallback, PyObject *args) {
    PyObject *value, *level, *parts, *empty, *text;

    if (!PyArg_ParseTuple(args, "OO", &value, &level))
        return NULL;
    parts = PyList_New(0);
    empty = PyUnicode_FromString("");
    text = parts && empty && write_value(fallback, parts, value) == 0 ? PyUnicode_Join(empty, parts) : NULL;
    Py_XDECREF(parts);
    Py_XDECREF(empty);
    return text ? Py_BuildValue("(N)", text) : NULL;
}
