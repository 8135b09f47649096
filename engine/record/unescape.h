/* The characters that a JSON string with escapes stands for (RFC 8259, section 7).
 *
 * Pure; any thread. Part of record/json.h, in a file of its own.
 */
#ifndef SLUICE_RECORD_UNESCAPE_H
#define SLUICE_RECORD_UNESCAPE_H

#ifdef __cplusplus
extern "C" {
#endif

struct record_unescaped {
    char *end;       /* of what was written */
    const char *bad; /* the backslash of the first bad escape or unpaired surrogate, or NULL */
};

/* Unescapes [at, end), the bytes between the quotes, to `out`, which needs no more room than they
 * have. What is not an escape is copied as it is. */
struct record_unescaped record_unescape(const char *at, const char *end, char *out);

#ifdef __cplusplus
}
#endif

#endif
