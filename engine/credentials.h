/* Who may do what: bearer tokens, of which only the SHA-256 is kept, each with scopes and, where
 * the operator wants that, the studies and centres that it may write for.
 *
 * Owner: the control thread loads and destroys it (a kind of reload.h); immutable in between, so
 * any thread of the data plane may look things up until its next quiescent point. Times are
 * nanoseconds since 1970 UTC.
 *
 * What is in no structure here, in no error and in no log line: a token.
 */
#ifndef SLUICE_CREDENTIALS_H
#define SLUICE_CREDENTIALS_H

#include "base/checksum.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of a file of credentials. */
#define CREDENTIALS_COUNT_MAX      4096 /* entries; four apps at each of a thousand sites */
#define CREDENTIALS_NAME_BYTES_MAX 128  /* of a name: it becomes a field of each record */
#define CREDENTIALS_ID_BYTES_MAX   128  /* of a study or centre id, as in a submission */
#define CREDENTIALS_STUDIES_MAX    64   /* of one entry; more is meant to be "every one" */
#define CREDENTIALS_CENTERS_MAX    1024 /* of one entry; the centres of a large phase III trial */
#define CREDENTIALS_FILE_BYTES_MAX (8 << 20) /* 4,096 entries of 2 KiB; parsed within a second */

/* What a credential may be used for; bits. */
enum credentials_scope {
    CREDENTIALS_NONE = 0,   /* of a route: needs no credential */
    CREDENTIALS_INGEST = 1, /* POST of submissions */
    CREDENTIALS_READ = 2,   /* stored submissions and receipts */
    CREDENTIALS_ADMIN = 4,  /* what only operators look at or do */
};

/* Names as in the file. */
#define CREDENTIALS_EACH_SCOPE(X)                                                                  \
    X(CREDENTIALS_INGEST, "ingest")                                                                \
    X(CREDENTIALS_READ, "read")                                                                    \
    X(CREDENTIALS_ADMIN, "admin")

struct credentials_text {
    char *data; /* not NUL-terminated */
    uint32_t bytes;
};

/* A set of ids in ascending order; `count` 0: bound to none, so every one is allowed. */
struct credentials_ids {
    struct credentials_text *ids;
    uint32_t count;
};

struct credential {
    uint8_t token_sha256[SHA256_BYTES];
    uint32_t scopes; /* enum credentials_scope, added up */
    uint32_t line;   /* in the file, from 1 */
    uint64_t not_before_ns;
    uint64_t expires_ns; /* UINT64_MAX: never */
    struct credentials_text name;
    struct credentials_ids studies, centers;
};

struct credentials {
    uint32_t count;
    uint32_t bucket_shift;
    uint64_t bucket_multiplier; /* random and odd */
    uint32_t *bucket_first;     /* index of each bucket's first entry, and one behind the last */
    struct credential *entries; /* by bucket */
};

/* A kind of reload.h: `path` is a string. The file is YAML (docs/operations.md); it may not be
 * readable or writable by others. -EINVAL with file and line for what is wrong in it, and when it
 * cannot be read; -ENOMEM. */
int credentials_load(const void *path, void **credentials_out, struct base_error *error);

void credentials_destroy(void *credentials); /* NULL is fine */

/* Takes over `entries` (malloc), whatever the result: checks that no name and no token comes twice.
 * `path` is for the error. */
int credentials_create(struct credential *entries, uint32_t count, const char *path,
                       struct credentials **credentials_out, struct base_error *error);

/* Frees what credentials_create would have taken over. */
void credentials_free_entries(struct credential *entries, uint32_t count);

/* The entry whose token has this SHA-256, or NULL. Does not look at its times. */
const struct credential *credentials_find(const struct credentials *credentials,
                                          const uint8_t token_sha256[SHA256_BYTES]);

static inline bool credentials_is_valid_at(const struct credential *credential, uint64_t now_ns)
{
    return credential->not_before_ns <= now_ns && now_ns < credential->expires_ns;
}

/* Whether the set allows `id`; an absent id (NULL) only where nothing is bound. */
bool credentials_allows(const struct credentials_ids *set, const char *id, size_t bytes);

/* Order of ids in a set. */
int credentials_compare_ids(const void *left, const void *right);

#endif
