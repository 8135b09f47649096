/* What the code tells the sanitizers; all of it compiles to nothing in a plain build.
 *
 * THREAD_RELEASE/THREAD_ACQUIRE  name a happens-before edge that ThreadSanitizer cannot see: one
 *     that runs through ck_ring's inline assembly or through the kernel (a ring message).
 * MEMORY_POISON/MEMORY_UNPOISON  make a recycled arena's unused bytes an AddressSanitizer error.
 */
#ifndef SLUICE_BASE_SANITIZER_H
#define SLUICE_BASE_SANITIZER_H

/* clang says the same in another way */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define THREAD_ACQUIRE(address) __tsan_acquire(address)
#define THREAD_RELEASE(address) __tsan_release(address)
#else
#define THREAD_ACQUIRE(address) ((void)(address))
#define THREAD_RELEASE(address) ((void)(address))
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define MEMORY_POISON(address, bytes)   ASAN_POISON_MEMORY_REGION((address), (bytes))
#define MEMORY_UNPOISON(address, bytes) ASAN_UNPOISON_MEMORY_REGION((address), (bytes))
#else
#define MEMORY_POISON(address, bytes)   ((void)(address), (void)(bytes))
#define MEMORY_UNPOISON(address, bytes) ((void)(address), (void)(bytes))
#endif

#endif
