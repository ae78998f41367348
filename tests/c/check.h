/* SPDX-License-Identifier: Apache-2.0
 *
 * What the programs of this directory share: a check that says where it failed, and a reproducible source of noise.
 */
#ifndef PYOCI_TESTS_CHECK_H
#define PYOCI_TESTS_CHECK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno));       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* xorshift: the same numbers in each run, so that what fails can be looked at. */
static inline uint32_t noise(void) {
    static uint32_t state = 2463534242;
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

#endif
