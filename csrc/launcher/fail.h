/* SPDX-License-Identifier: Apache-2.0
 *
 * What all parts of the launcher use.
 */
#ifndef PYOCI_FAIL_H
#define PYOCI_FAIL_H

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Prints one line of error. Returns 1, the exit status. */
static inline int fail(const char *what, const char *about) {
    fprintf(stderr, "pyoci: %s: %s\n", what, about);
    return 1;
}

#endif
