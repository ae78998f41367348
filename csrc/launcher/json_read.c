/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of the module _json (json.c). It accepts strictly what RFC 8259 defines.
 */
#include "json.h"

struct reader {
    PyObject *text;
    PyObject *names; /* each property name once */
    PyObject *context;
    const void *data;
    int kind;
    Py_ssize_t length;
    Py_ssize_t at;
};

static PyObject *read_value(struct reader *reader);

/* Returns the next character, or 0 at the end (a NUL in the text is not JSON either). */
static Py_UCS4 peek(const struct reader *reader) {
    return reader->at < reader->length ? PyUnicode_READ(reader->kind, reader->data, reader->at) : 0;
}

static Py_UCS4 skip_space(struct reader *reader) {
    Py_UCS4 c = peek(reader);

    while (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
        reader->at++;
        c = peek(reader);
    }
    return c;
}

static void *fault(const char *what) {
    PyErr_SetString(PyExc_SystemError, what);
    return NULL;
}

static PyObject *no_value(Py_ssize_t at) {
    PyObject *position = PyLong_FromSsize_t(at);

    if (position)
        PyErr_SetObject(PyExc_StopIteration, position);
    Py_XDECREF(position);
    return NULL;
}

/* Returns the value of four hexadecimal digits at a position, or -1. */
static long read_hex(const struct reader *reader, Py_ssize_t at) {
    long value = 0;

    if (at + 4 > reader->length)
        return -1;
    for (Py_ssize_t i = at; i < at + 4; i++) {
        Py_UCS4 c = PyUnicode_READ(reader->kind, reader->data, i);

        value <<= 4;
        if (c >= '0' && c <= '9')
            value |= (long)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value |= (long)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            value |= (long)(c - 'A' + 10);
        else
            return -1;
    }
    return value;
}

/* Reads an escape after its backslash; a pair of surrogates is one character. Returns -1 if RFC 8259 has no such
 * escape. */
static long read_escape(struct reader *reader) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    Py_UCS4 c = peek(reader);
    const char *letter = c && c < 128 ? strchr(letters, (int)c) : NULL;
    long value, second;

    reader->at++;
    if (letter)
        return meanings[letter - letters];
    if (c != 'u' || (value = read_hex(reader, reader->at)) < 0)
        return -1;
    reader->at += 4;
    if (Py_UNICODE_IS_HIGH_SURROGATE((Py_UCS4)value) && reader->at + 6 <= reader->length &&
        PyUnicode_READ(reader->kind, reader->data, reader->at) == '\\' &&
        PyUnicode_READ(reader->kind, reader->data, reader->at + 1) == 'u' &&
        (second = read_hex(reader, reader->at + 2)) >= 0 && Py_UNICODE_IS_LOW_SURROGATE((Py_UCS4)second)) {
        reader->at += 6;
        return (long)Py_UNICODE_JOIN_SURROGATES((Py_UCS4)value, (Py_UCS4)second);
    }
    return value;
}

/* Reads a string with escapes. end: the position of the closing quote, or a later one. */
static PyObject *read_escaped(struct reader *reader) {
    Py_ssize_t size = 0, room = 0;
    Py_UCS4 *buffer = NULL;
    PyObject *text = NULL;

    for (;;) {
        Py_UCS4 c = peek(reader);
        long value = (long)c;

        if (c < 0x20) {
            fault("a control character, or the end, in a string");
            break;
        }
        reader->at++;
        if (c == '"') {
            text = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, buffer, size);
            break;
        }
        if (c == '\\' && (value = read_escape(reader)) < 0) {
            fault("an escape is malformed");
            break;
        }
        if (size == room) {
            Py_UCS4 *more = PyMem_Realloc(buffer, (size_t)(room = room * 2 + 64) * sizeof(*buffer));

            if (!more) {
                PyErr_NoMemory();
                break;
            }
            buffer = more;
        }
        buffer[size++] = (Py_UCS4)value;
    }
    PyMem_Free(buffer);
    return text;
}

/* Reads a string whose opening quote has been read. */
static PyObject *read_string(struct reader *reader) {
    Py_ssize_t start = reader->at, end;
    Py_UCS4 c = 0;

    for (end = start; end < reader->length; end++) {
        c = PyUnicode_READ(reader->kind, reader->data, end);
        if (c == '"' || c == '\\' || c < 0x20)
            break;
    }
    if (end == reader->length || c != '"')
        return read_escaped(reader);
    reader->at = end + 1;
    return PyUnicode_Substring(reader->text, start, end);
}

static PyObject *read_name(struct reader *reader) {
    PyObject *name = read_string(reader), *known;

    if (!name)
        return NULL;
    known = PyDict_SetDefault(reader->names, name, name);
    Py_XINCREF(known);
    Py_DECREF(name);
    return known;
}

static int skip_digits(struct reader *reader) {
    Py_ssize_t start = reader->at;

    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at > start;
}

static PyObject *read_number(struct reader *reader) {
    Py_ssize_t start = reader->at, whole;
    int is_float = 0;
    PyObject *digits, *value;

    if (peek(reader) == '-')
        reader->at++;
    if (peek(reader) == '0')
        reader->at++;
    else if (!skip_digits(reader))
        return no_value(start);
    whole = reader->at;
    if (peek(reader) == '.') {
        reader->at++;
        is_float = skip_digits(reader);
        if (!is_float)
            reader->at = whole;
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        Py_ssize_t before = reader->at;

        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (skip_digits(reader))
            is_float = 1;
        else
            reader->at = before;
    }
    digits = PyUnicode_Substring(reader->text, start, reader->at);
    if (!digits)
        return NULL;
    value = is_float ? PyFloat_FromString(digits) : PyLong_FromUnicodeObject(digits, 10);
    Py_DECREF(digits);
    return value;
}

static PyObject *read_object(struct reader *reader) {
    PyObject *object = PyDict_New();
    Py_UCS4 c = skip_space(reader);

    if (!object)
        return NULL;
    if (c == '}') {
        reader->at++;
        return object;
    }
    for (;; c = skip_space(reader)) {
        PyObject *name = NULL, *value = NULL;
        int failed;

        if (c != '"') {
            fault("a property name is missing");
            break;
        }
        reader->at++;
        name = read_name(reader);
        if (name && skip_space(reader) != ':') {
            fault("a colon is missing");
        } else if (name) {
            reader->at++;
            skip_space(reader);
            value = read_value(reader);
        }
        failed = !value || PyDict_SetItem(object, name, value) < 0;
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (failed)
            break;
        c = skip_space(reader);
        reader->at++;
        if (c == '}')
            return object;
        if (c != ',') {
            fault("a comma is missing");
            break;
        }
    }
    Py_DECREF(object);
    return NULL;
}

static PyObject *read_array(struct reader *reader) {
    PyObject *array = PyList_New(0);

    if (!array)
        return NULL;
    if (skip_space(reader) == ']') {
        reader->at++;
        return array;
    }
    for (;; skip_space(reader)) {
        PyObject *value = read_value(reader);
        int failed = !value || PyList_Append(array, value) < 0;
        Py_UCS4 c;

        Py_XDECREF(value);
        if (failed)
            break;
        c = skip_space(reader);
        reader->at++;
        if (c == ']')
            return array;
        if (c != ',') {
            fault("a comma is missing");
            break;
        }
    }
    Py_DECREF(array);
    return NULL;
}

/* Reads one of the words at the reader's position. Returns NULL without an exception if there is none. */
static PyObject *read_word(struct reader *reader) {
    static const struct {
        const char *word;
        PyObject *value; /* NULL: left to the context */
    } words[] = {{"null", Py_None}, {"true", Py_True},  {"false", Py_False},
                 {"NaN", NULL},     {"Infinity", NULL}, {"-Infinity", NULL}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        Py_ssize_t length = (Py_ssize_t)strlen(words[i].word), matched = 0;

        while (matched < length && reader->at + matched < reader->length &&
               PyUnicode_READ(reader->kind, reader->data, reader->at + matched) == (Py_UCS4)words[i].word[matched])
            matched++;
        if (matched < length)
            continue;
        reader->at += length;
        if (!words[i].value)
            return PyObject_CallMethod(reader->context, "parse_constant", "s", words[i].word);
        return Py_NewRef(words[i].value);
    }
    return NULL;
}

static PyObject *read_value(struct reader *reader) {
    PyObject *value;
    Py_UCS4 c = peek(reader);

    if (c == '"') {
        reader->at++;
        return read_string(reader);
    }
    if (c == '{' || c == '[') {
        if (Py_EnterRecursiveCall(" in a JSON document"))
            return NULL;
        reader->at++;
        value = c == '{' ? read_object(reader) : read_array(reader);
        Py_LeaveRecursiveCall();
        return value;
    }
    value = read_word(reader);
    return value || PyErr_Occurred() ? value : read_number(reader);
}

PyObject *json_scan(PyObject *context, PyObject *args) {
    struct reader reader = {.context = context};
    PyObject *value;

    if (!PyArg_ParseTuple(args, "Un", &reader.text, &reader.at) || PyUnicode_READY(reader.text) < 0)
        return NULL;
    reader.data = PyUnicode_DATA(reader.text);
    reader.kind = PyUnicode_KIND(reader.text);
    reader.length = PyUnicode_GET_LENGTH(reader.text);
    reader.names = PyDict_New();
    if (!reader.names || reader.at < 0)
        return reader.names ? no_value(reader.at) : NULL;
    value = read_value(&reader);
    Py_DECREF(reader.names);
    return value ? Py_BuildValue("(Nn)", value, reader.at) : NULL;
}
