#include "ingress/tls_memory.h"

#include "base/check.h"

#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLASSES         4
#define CLASS_BYTES_MIN 64 /* 64, 128, 256, 512 */
#define CLASS_NONE      CLASSES

/* In front of every block; keeps the alignment that malloc gives. */
struct header {
    _Alignas(16) size_t bytes; /* that the block can hold */
    uint32_t size_class;
};

struct listed {
    struct listed *next;
};

static _Thread_local struct list {
    struct listed *first;
    unsigned count;
} lists[CLASSES];

static uint32_t class_of(size_t bytes)
{
    uint32_t size_class = 0;
    while (size_class < CLASSES && (size_t)CLASS_BYTES_MIN << size_class < bytes)
        size_class++;
    return size_class;
}

static struct header *header_of(void *block)
{
    return (struct header *)block - 1;
}

static void *take(size_t bytes, const char *file, int line)
{
    uint32_t size_class = class_of(bytes);
    (void)file;
    (void)line;
    if (size_class < CLASSES && lists[size_class].first != NULL) {
        struct listed *block = lists[size_class].first;
        lists[size_class].first = block->next;
        lists[size_class].count--;
        return block;
    }
    size_t room = size_class < CLASSES ? (size_t)CLASS_BYTES_MIN << size_class : bytes;
    struct header *header =
        room <= SIZE_MAX - sizeof(*header) ? malloc(sizeof(*header) + room) : NULL;
    if (header == NULL)
        return NULL;
    *header = (struct header){.bytes = room, .size_class = size_class};
    return header + 1;
}

static void give_back(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    if (block == NULL)
        return;
    struct header *header = header_of(block);
    CHECK(header->size_class <= CLASS_NONE);
    struct list *list = &lists[header->size_class % CLASSES];
    if (header->size_class == CLASS_NONE || list->count == TLS_MEMORY_LISTED_MAX) {
        free(header);
        return;
    }
    struct listed *listed = block;
    listed->next = list->first;
    list->first = listed;
    list->count++;
}

static void *resize(void *block, size_t bytes, const char *file, int line)
{
    if (block == NULL)
        return take(bytes, file, line);
    if (bytes == 0) {
        give_back(block, file, line);
        return NULL;
    }
    size_t room = header_of(block)->bytes;
    if (bytes <= room)
        return block;
    void *larger = take(bytes, file, line);
    if (larger == NULL)
        return NULL;
    memcpy(larger, block, room);
    give_back(block, file, line);
    return larger;
}

bool ingress_tls_memory_install(void)
{
    return SLUICE_SANITIZED || CRYPTO_set_mem_functions(take, resize, give_back) == 1;
}
