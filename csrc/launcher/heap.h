/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap of the image, while it is made and afterwards (heap.c).
 */
#ifndef PYOCI_HEAP_H
#define PYOCI_HEAP_H

#include <Python.h>

/* All of it; what is in use ends where heap_finish says. */
extern char heap[];

/* Whether this process is a copy, whose new memory comes from libc. */
int heap_complete(void);

/* Serve Python's arenas and stacks, before it is pre-initialised, and its objects, after that. */
void heap_serve_arenas(void);
void heap_serve_objects(void);

/* Takes the zones of blocks that heap_list_zones wrote in an earlier process, if there is such a file. 0, or 1 with a
 * message. */
int heap_read_zones(const char *path);
int heap_knows_zones(void);

/* Runs a script that names hot and warm objects to the module _builder, and writes the numbers of their blocks. */
int heap_list_zones(const char *path, const char *script);
PyMODINIT_FUNC PyInit__builder(void);

/* Makes this process's memory that of the copy; gives the end of what is in use. */
char *heap_finish(void);

/* Maps the hot pages in one go where the kernel can (Linux 5.14); elsewhere each is mapped when it is touched. */
void heap_map_hot(void);

#endif
