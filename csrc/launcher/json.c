/* SPDX-License-Identifier: Apache-2.0
 *
 * The module _json of the image. It replaces the parts of CPython's _json that pyoci/jsontext.py calls: distributions
 * ship that module only as a shared library, which a static program cannot load. It reads and writes strictly what RFC
 * 8259 defines.
 *
 *     make_scanner(context)(text, start) -> (value, end)       raises StopIteration(position) if no value begins there,
 *                                                              SystemError for other faults, which the caller explains
 *     make_encoder(_, default, ...)(value, level) -> (text,)   calls default(value) for what has no JSON form
 *     encode_basestring(text) -> text                          in quotation marks
 */
#include "json.h"

static PyMethodDef scan_method = {"scan", json_scan, METH_VARARGS, NULL};
static PyMethodDef encode_method = {"encode", json_encode, METH_VARARGS, NULL};

static PyObject *make_scanner(PyObject *module, PyObject *context) {
    (void)module;
    return PyCFunction_New(&scan_method, context);
}

static PyObject *make_encoder(PyObject *module, PyObject *args) {
    (void)module;
    if (PyTuple_GET_SIZE(args) < 2)
        return PyErr_Format(PyExc_TypeError, "two arguments are wanted");
    return PyCFunction_New(&encode_method, PyTuple_GET_ITEM(args, 1));
}

static PyMethodDef methods[] = {{"make_scanner", make_scanner, METH_O, NULL},
                                {"make_encoder", make_encoder, METH_VARARGS, NULL},
                                {"encode_basestring", json_quote, METH_O, NULL},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_json", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__json(void) {
    return PyModule_Create(&definition);
}
