/* The asserts of the unit tests' library for a program that is no unit test, so that it can use
 * their rig (tests/unit/journal_rig.h): the first one that fails says where and ends the program.
 */
#ifndef SLUICE_TESTS_PLAIN_CRITERION_H
#define SLUICE_TESTS_PLAIN_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

#define PLAIN_ASSERT(condition, text)                                                              \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", __FILE__, __LINE__, __func__,     \
                    text);                                                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The messages of the tests are for their runner. */
#define cr_assert(condition, ...)        PLAIN_ASSERT(condition, #condition)
#define cr_assert_eq(left, right, ...)   PLAIN_ASSERT((left) == (right), #left " == " #right)
#define cr_assert_not_null(pointer, ...) PLAIN_ASSERT((pointer) != NULL, #pointer " != NULL")

#endif
