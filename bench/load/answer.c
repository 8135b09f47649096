#include "load/answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value behind `name` in [at, end), or NULL. */
static const char *find(const char *at, const char *end, const char *name)
{
    size_t bytes = strlen(name);
    const char *found = memmem(at, (size_t)(end - at), name, bytes);
    return found == NULL ? NULL : found + bytes;
}

static bool parse_number(const char **at, const char *end, uint64_t *value_out)
{
    const char *start = *at;
    uint64_t value = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - start < 19)
        value = value * 10 + (uint64_t)(*(*at)++ - '0');
    *value_out = value;
    return *at > start;
}

static int hex_digit(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static bool parse_digest(const char *at, const char *end, uint8_t *digest_out)
{
    if (end - at < 2 * LOAD_DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < LOAD_DIGEST_BYTES; i++) {
        int high = hex_digit(at[2 * i]), low = hex_digit(at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        digest_out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool parse_receipt(const char *at, const char *end, struct load_receipt *receipt_out)
{
    uint64_t journal;
    const char *value = find(at, end, "\"journal\":");
    if (value == NULL || !parse_number(&value, end, &journal) || journal > UINT32_MAX)
        return false;
    receipt_out->journal = (uint32_t)journal;
    value = find(at, end, "\"sequence\":");
    if (value == NULL || !parse_number(&value, end, &receipt_out->sequence))
        return false;
    value = find(at, end, "\"sha256\":\"");
    return value != NULL && parse_digest(value, end, receipt_out->sha256);
}

/* A header line's value; names are compared without case. */
static const char *find_header(const char *at, const char *end, const char *name)
{
    size_t bytes = strlen(name);
    while ((at = find(at, end, "\r\n")) != NULL && (size_t)(end - at) > bytes) {
        if (strncasecmp(at, name, bytes) != 0 || at[bytes] != ':')
            continue;
        at += bytes + 1;
        while (at < end && *at == ' ')
            at++;
        return at;
    }
    return NULL;
}

long load_answer_parse(const char *data, size_t bytes, struct load_answer *answer_out)
{
    static const char version[] = "HTTP/1.1 ";
    const char *end = data + bytes;
    const char *content = find(data, end, "\r\n\r\n");
    if (content == NULL)
        return 0;
    const char *at = data + sizeof(version) - 1;
    const char *head_end = content - 2; /* with the last line's end */
    uint64_t status, length;
    if (memcmp(data, version, sizeof(version) - 1) != 0 || !parse_number(&at, head_end, &status))
        return -1;
    at = find_header(data, head_end, "Content-Length");
    if (at == NULL || !parse_number(&at, head_end, &length) || length > UINT32_MAX)
        return -1;
    if ((uint64_t)(end - content) < length)
        return 0;
    *answer_out = (struct load_answer){.status = (unsigned)status};
    at = find_header(data, head_end, "Connection");
    answer_out->ends = at != NULL && head_end - at >= 5 && strncasecmp(at, "close", 5) == 0;
    if (status == 201 || status == 200)
        answer_out->has_receipt = parse_receipt(content, content + length, &answer_out->receipt);
    return content - data + (long)length;
}
