/* Assertions that stay on in release builds.
 *
 * CHECK         what the programmer must have got right. Fails the process: a wrong invariant in
 *               an engine that acknowledges clinical data is worse than a restart, because after
 *               the restart recovery tells the truth.
 * CHECK_SLOW    the same for checks that cost too much for the hot path; on in sanitizer builds.
 * CHECK_NEVER   the code is not reached.
 * CHECK_OBJECT  the pointer is not NULL and carries the magic number of its type.
 *
 * Input, network and disk errors are never asserts: they are values.
 * Any thread may call these.
 */
#ifndef SLUICE_BASE_CHECK_H
#define SLUICE_BASE_CHECK_H

#include "base/sanitizer.h"

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLUICE_SANITIZED 1
#else
#define SLUICE_SANITIZED 0
#endif

_Noreturn void base_check_failed(const char *condition, const char *file, int line,
                                 const char *function);

#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : base_check_failed(#condition, __FILE__, __LINE__, __func__))

/* A place that is never reached. */
#define CHECK_NEVER(what) base_check_failed(what, __FILE__, __LINE__, __func__)

#define CHECK_SLOW(condition) CHECK(!SLUICE_SANITIZED || (condition))

#define CHECK_OBJECT(pointer, expected) CHECK((pointer) != NULL && (pointer)->magic == (expected))

#endif
