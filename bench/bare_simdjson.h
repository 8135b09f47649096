/* simdjson by itself, to compare record/json.h with. Owner: the caller of create. No exception
 * leaves it.
 */
#ifndef SLUICE_BENCH_BARE_SIMDJSON_H
#define SLUICE_BENCH_BARE_SIMDJSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bare_simdjson;

struct bare_simdjson *bare_simdjson_create(size_t body_bytes_max); /* NULL: no memory */
void bare_simdjson_destroy(struct bare_simdjson *bare);

/* Parses into the DOM, numbers converted. Returns the members of the root, 0 after an error. */
uint64_t bare_simdjson_dom(struct bare_simdjson *bare, const char *body, size_t bytes);

/* The same and then walks. Returns the values in the document with the root. */
uint64_t bare_simdjson_dom_values(struct bare_simdjson *bare, const char *body, size_t bytes);

/* Walks every value with On-Demand: names and strings unescaped, numbers left as characters (and so
 * not checked). Returns the values in the document with the root, 0 after an error. */
uint64_t bare_simdjson_on_demand(struct bare_simdjson *bare, const char *body, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
