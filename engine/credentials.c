/* Looking a token up must not help somebody who guesses. Two things could: how long a comparison
 * takes, and which entries are compared.
 *
 * Digests are compared with CRYPTO_memcmp, always over all 32 bytes, and the loop goes on behind a
 * match. Which entries are compared hangs on a hash of the presented token's digest, keyed with a
 * number that is drawn at each load: an attacker knows the digest of the token he sent, but not the
 * bucket it falls into, so how many entries share that bucket (nearly always none or one) tells
 * nothing about their digests. Were a digest to leak all the same, a token of 256 random bits could
 * not be found from it; that is why `sluice token` makes them and nobody else should.
 *
 * Rejected: comparing with every entry, which costs 4,096 comparisons per request and hides no
 * more.
 */
#include "credentials.h"

#include "base/check.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint32_t bucket_of(const struct credentials *credentials, const uint8_t *token_sha256)
{
    uint64_t word;
    memcpy(&word, token_sha256, sizeof(word));
    /* multiply-shift (Dietzfelbinger and others, 1997): universal for a random odd multiplier */
    return (uint32_t)(word * credentials->bucket_multiplier >> credentials->bucket_shift);
}

const struct credential *credentials_find(const struct credentials *credentials,
                                          const uint8_t token_sha256[SHA256_BYTES])
{
    const struct credential *found = NULL;
    uint32_t bucket = bucket_of(credentials, token_sha256);
    for (uint32_t i = credentials->bucket_first[bucket]; i < credentials->bucket_first[bucket + 1];
         i++) {
        const struct credential *entry = &credentials->entries[i];
        if (CRYPTO_memcmp(entry->token_sha256, token_sha256, SHA256_BYTES) == 0)
            found = entry;
    }
    return found;
}

static int compare_texts(const char *left, size_t left_bytes, const char *right, size_t right_bytes)
{
    int order = memcmp(left, right, left_bytes < right_bytes ? left_bytes : right_bytes);
    return order != 0 ? order : (left_bytes > right_bytes) - (left_bytes < right_bytes);
}

int credentials_compare_ids(const void *left, const void *right)
{
    const struct credentials_text *a = left, *b = right;
    return compare_texts(a->data, a->bytes, b->data, b->bytes);
}

bool credentials_allows(const struct credentials_ids *set, const char *id, size_t bytes)
{
    uint32_t low = 0, high = set->count;
    if (set->count == 0 || id == NULL)
        return set->count == 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct credentials_text *text = &set->ids[middle];
        int order = compare_texts(id, bytes, text->data, text->bytes);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* --- made and destroyed --------------------------------------------------------------------- */

static void free_ids(struct credentials_ids *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        free(set->ids[i].data);
    free(set->ids);
}

void credentials_free_entries(struct credential *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(entries[i].name.data);
        free_ids(&entries[i].studies);
        free_ids(&entries[i].centers);
    }
    free(entries);
}

void credentials_destroy(void *object)
{
    struct credentials *credentials = object;
    if (credentials == NULL)
        return;
    credentials_free_entries(credentials->entries, credentials->count);
    free(credentials->bucket_first);
    free(credentials);
}

static int by_name(const void *left, const void *right)
{
    const struct credential *a = left, *b = right;
    return credentials_compare_ids(&a->name, &b->name);
}

static int by_digest(const void *left, const void *right)
{
    const struct credential *a = left, *b = right;
    return memcmp(a->token_sha256, b->token_sha256, SHA256_BYTES);
}

/* A record names its credential, so a name means one token; and a token means one entry. */
static int check_unique(struct credential *entries, uint32_t count, const char *path,
                        int (*order)(const void *, const void *), const char *what,
                        struct base_error *error)
{
    if (count > 0)
        qsort(entries, count, sizeof(*entries), order);
    for (uint32_t i = 1; i < count; i++) {
        uint32_t first = entries[i - 1].line, second = entries[i].line;
        if (order(&entries[i - 1], &entries[i]) == 0)
            return base_error_set(error, -EINVAL, "%s:%u: this %s is that of line %u, too", path,
                                  first > second ? first : second, what,
                                  first > second ? second : first);
    }
    return 0;
}

/* Counting sort into buckets, of which there are at least twice as many as entries. */
static bool fill_buckets(struct credentials *credentials, const struct credential *entries)
{
    uint32_t bits = 1;
    while (UINT32_C(1) << bits < 2 * credentials->count)
        bits++;
    uint32_t bucket_count = UINT32_C(1) << bits;
    credentials->bucket_shift = 64 - bits;
    CHECK(getrandom(&credentials->bucket_multiplier, sizeof(credentials->bucket_multiplier), 0) ==
          sizeof(credentials->bucket_multiplier));
    credentials->bucket_multiplier |= 1;
    uint32_t *first = calloc(bucket_count + 1, sizeof(*first));
    credentials->entries = calloc(credentials->count, sizeof(*credentials->entries));
    credentials->bucket_first = first;
    if (first == NULL || credentials->entries == NULL)
        return false;
    for (uint32_t i = 0; i < credentials->count; i++)
        first[bucket_of(credentials, entries[i].token_sha256)]++;
    for (uint32_t i = 1; i <= bucket_count; i++)
        first[i] += first[i - 1]; /* now behind each bucket's last */
    for (uint32_t i = credentials->count; i-- > 0;)
        credentials->entries[--first[bucket_of(credentials, entries[i].token_sha256)]] = entries[i];
    return true;
}

int credentials_create(struct credential *entries, uint32_t count, const char *path,
                       struct credentials **credentials_out, struct base_error *error)
{
    int result = check_unique(entries, count, path, by_name, "name", error);
    if (result == 0)
        result = check_unique(entries, count, path, by_digest, "token's sha256", error);
    if (result < 0) {
        credentials_free_entries(entries, count);
        return result;
    }
    struct credentials *credentials = calloc(1, sizeof(*credentials));
    if (credentials != NULL)
        credentials->count = count;
    if (credentials == NULL || !fill_buckets(credentials, entries)) {
        if (credentials != NULL) {
            free(credentials->bucket_first);
            free(credentials->entries);
        }
        free(credentials);
        credentials_free_entries(entries, count);
        return base_error_set(error, -ENOMEM, "%s: no memory for %u credentials", path, count);
    }
    free(entries); /* what it pointed to has moved */
    *credentials_out = credentials;
    return 0;
}
