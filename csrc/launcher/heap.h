/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap of the image, during the build and in the copy (heap.c).
 */
#ifndef PYOCI_HEAP_H
#define PYOCI_HEAP_H

#include <Python.h>

/* The whole heap. The part in use ends at the address that heap_finish returns. */
extern char heap[];

/* Returns whether this process is a copy. New memory of a copy comes from libc. */
int heap_complete(void);

/* Serve Python's arenas and stacks, to be called before pre-initialisation, and its objects, to be called after. */
void heap_serve_arenas(void);
void heap_serve_objects(void);

/* Reads the zones that heap_list_zones wrote in an earlier process, if there is such a file. Returns 0, or 1 with a
 * message. */
int heap_read_zones(const char *path);
int heap_knows_zones(void);

/* Runs a script that marks hot and warm objects through the module _builder, and writes the numbers of their blocks. */
int heap_list_zones(const char *path, const char *script);
PyMODINIT_FUNC PyInit__builder(void);

/* Ends the build: later memory is the copy's. Returns the end of the part in use. */
char *heap_finish(void);

/* Maps all hot pages at once (Linux 5.14). On older kernels each page is mapped when it is touched. */
void heap_map_hot(void);

#endif
