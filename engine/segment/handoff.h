/* Between a worker and the control thread: a prepared segment one way, a full one the other.
 *
 * Each direction is a mailbox of one: whoever fills it stores the pointer with release, whoever
 * empties it copies what it points to and stores NULL with release, after which the filler may use
 * the memory again. H1 (control fills `prepared`) pairs with H2 (worker looks); H3 (worker empties
 * it) with H4 (control looks). H5 (worker fills `sealable`) pairs with H6 (control looks); H7
 * (control empties it, after the seal) with H8 (worker looks). H9 (worker says that it waits) pairs
 * with H10 (control looks and rings). One worker, one control thread.
 */
#ifndef SLUICE_SEGMENT_HANDOFF_H
#define SLUICE_SEGMENT_HANDOFF_H

#include "base/atomic.h"
#include "segment/seal.h"

struct segment_prepared {
    int fd; /* goes to the worker */
    uint64_t segment_number;
    uint64_t file_bytes;
};

struct segment_handoff {
    _Alignas(CACHE_LINE_BYTES) _Atomic(struct segment_prepared *) prepared;
    _Atomic(struct segment_sealable *) sealable;
    _Atomic int shortage; /* errno for which no segment can be prepared, 0: none; control writes */
    _Atomic int failure;  /* errno for which the journal must end, 0: none; control writes */
    _Atomic uint32_t wanted; /* 1: the worker waits for `prepared`; worker writes */
    struct segment_prepared prepared_storage; /* control's while `prepared` is NULL */
    struct segment_sealable sealable_storage; /* worker's while `sealable` is NULL */
};

#endif
