/* SPDX-License-Identifier: Apache-2.0
 *
 * The two halves of the module _json (json.c).
 */
#ifndef PYOCI_JSON_H
#define PYOCI_JSON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* scan(text, start) -> (value, end); `context` has parse_constant, for NaN and the infinities (json_read.c). */
PyObject *json_scan(PyObject *context, PyObject *args);

/* encode(value, level) -> (text,); `fallback` is called for values without a JSON form (json_write.c). */
PyObject *json_encode(PyObject *fallback, PyObject *args);

/* quote(text) -> text in quotation marks. */
PyObject *json_quote(PyObject *module, PyObject *text);

#endif
