/* Atomic operations whose name says the order. Nothing else in engine/ touches an _Atomic object,
 * so that each use says which guarantee it needs; each acquire/release pair carries a label in a
 * comment ("D1 pairs with D2") that docs/concurrency.md lists.
 *
 * There is no sequentially consistent helper on purpose: where two threads must not both miss each
 * other (the doorbell), both sides do an acq_rel exchange of one word, see queue/doorbell.h.
 */
#ifndef SLUICE_BASE_ATOMIC_H
#define SLUICE_BASE_ATOMIC_H

#include <stdatomic.h>

/* Destructive interference size of the x86-64 and arm64 server cores that Sluice runs on; two
 * lines, because the adjacent-line prefetcher pulls pairs. */
#define CACHE_LINE_BYTES 128

#define load_relaxed(object)         atomic_load_explicit((object), memory_order_relaxed)
#define load_acquire(object)         atomic_load_explicit((object), memory_order_acquire)
#define store_relaxed(object, value) atomic_store_explicit((object), (value), memory_order_relaxed)
#define store_release(object, value) atomic_store_explicit((object), (value), memory_order_release)
#define exchange_acq_rel(object, value)                                                            \
    atomic_exchange_explicit((object), (value), memory_order_acq_rel)
#define add_relaxed(object, value)                                                                 \
    atomic_fetch_add_explicit((object), (value), memory_order_relaxed)

#endif
