#include "ingress/http_value.h"

#include <string.h>

static char lower_of(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

bool ingress_http_value_is(const char *value, size_t bytes, const char *lower)
{
    if (strlen(lower) != bytes)
        return false;
    int difference = 0;
    for (size_t i = 0; i < bytes; i++)
        difference |= lower_of(value[i]) ^ lower[i];
    return difference == 0;
}

static size_t skip_space(const char *value, size_t bytes, size_t at)
{
    while (at < bytes && (value[at] == ' ' || value[at] == '\t'))
        at++;
    return at;
}

static bool ends_token(char byte)
{
    return byte == ';' || byte == ' ' || byte == '\t' || byte == '=' || byte == '"';
}

/* Up to the first byte that ends a parameter's name, or its value when that is not quoted. */
static size_t token_end(const char *value, size_t bytes, size_t at)
{
    while (at < bytes && !ends_token(value[at]))
        at++;
    return at;
}

/* One `name=value`; returns where it ends, or 0 when it is malformed or a charset but UTF-8. */
static size_t scan_parameter(const char *value, size_t bytes, size_t at)
{
    size_t name = at;
    at = token_end(value, bytes, at);
    size_t name_bytes = at - name;
    if (name_bytes == 0 || at == bytes || value[at] != '=')
        return 0;
    at++;
    bool is_quoted = at < bytes && value[at] == '"';
    size_t text = is_quoted ? at + 1 : at;
    size_t text_end;
    if (is_quoted) {
        for (at = text; at < bytes && value[at] != '"'; at++) {
            if (value[at] == '\\')
                at++; /* RFC 9110, section 5.6.4: quoted-pair */
        }
        if (at >= bytes)
            return 0;
        text_end = at++;
    } else {
        text_end = at = token_end(value, bytes, at);
        if (text_end == text)
            return 0;
    }
    bool is_charset = ingress_http_value_is(value + name, name_bytes, "charset");
    if (is_charset && !ingress_http_value_is(value + text, text_end - text, "utf-8"))
        return 0;
    return at;
}

enum ingress_http_media ingress_http_value_media(const char *value, size_t bytes)
{
    static const char json[] = "application/json";
    if (bytes == sizeof(json) - 1 && memcmp(value, json, bytes) == 0)
        return INGRESS_HTTP_MEDIA_JSON; /* nearly always */
    size_t at = token_end(value, bytes, 0);
    if (!ingress_http_value_is(value, at, json))
        return INGRESS_HTTP_MEDIA_OTHER;
    for (;;) { /* RFC 9110, section 5.6.6: *( OWS ";" OWS [ parameter ] ) */
        at = skip_space(value, bytes, at);
        if (at == bytes)
            return INGRESS_HTTP_MEDIA_JSON;
        if (value[at] != ';')
            return INGRESS_HTTP_MEDIA_OTHER;
        at = skip_space(value, bytes, at + 1);
        if (at == bytes || value[at] == ';')
            continue;
        at = scan_parameter(value, bytes, at);
        if (at == 0)
            return INGRESS_HTTP_MEDIA_OTHER;
    }
}

bool ingress_http_value_is_length(const char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
    }
    return bytes > 0 && bytes <= strlen("18446744073709551615");
}

size_t ingress_http_value_key(const char *value, size_t bytes, const char **key_out)
{
    if (bytes >= 2 && value[0] == '"' && value[bytes - 1] == '"') {
        value++;
        bytes -= 2;
    }
    if (bytes > INGRESS_HTTP_KEY_BYTES_MAX)
        return 0;
    for (size_t i = 0; i < bytes; i++) {
        if (value[i] < '!' || value[i] > '~')
            return 0;
    }
    *key_out = value;
    return bytes;
}

/* RFC 6750's b64token; the padding may stand anywhere, it is compared as it is. */
static bool is_token_byte(char byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("-._~+/=", byte) != NULL);
}

enum ingress_http_bearer ingress_http_value_bearer(const char *value, size_t bytes,
                                                   const char **token_out, size_t *token_bytes_out)
{
    static const char scheme[] = "bearer";
    size_t at = token_end(value, bytes, 0);
    if (!ingress_http_value_is(value, at, scheme))
        return INGRESS_HTTP_BEARER_NONE;
    while (at < bytes && value[at] == ' ') /* RFC 9110, section 11.4: 1*SP */
        at++;
    *token_out = value + at;
    *token_bytes_out = bytes - at;
    if (at == bytes || bytes - at > INGRESS_HTTP_TOKEN_BYTES_MAX)
        return INGRESS_HTTP_BEARER_MALFORMED;
    for (; at < bytes; at++)
        if (!is_token_byte(value[at]))
            return INGRESS_HTTP_BEARER_MALFORMED;
    return INGRESS_HTTP_BEARER_TOKEN;
}

/* Lower-case hexadecimal only; -1 otherwise. */
static int hex_value(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

/* Decodes `bytes` bytes from twice as many digits; false when one is no digit. Tells in
 * `is_zero_out` whether all are zero. */
static bool decode_hex(const char *digits, size_t bytes, uint8_t *data_out, bool *is_zero_out)
{
    int any = 0;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_value(digits[2 * i]);
        int low = hex_value(digits[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        data_out[i] = (uint8_t)(high << 4 | low);
        any |= data_out[i];
    }
    *is_zero_out = any == 0;
    return true;
}

bool ingress_http_value_trace(const char *value, size_t bytes, uint8_t trace_id_out[16])
{
    enum { AT_TRACE = 3, AT_PARENT = 36, AT_FLAGS = 53, END = 55 };
    uint8_t version;
    uint8_t trace[16];
    uint8_t parent[8];
    uint8_t flags;
    bool is_zero[4];
    if (bytes < END || value[AT_TRACE - 1] != '-' || value[AT_PARENT - 1] != '-' ||
        value[AT_FLAGS - 1] != '-')
        return false;
    if (!decode_hex(value, sizeof(version), &version, &is_zero[0]) ||
        !decode_hex(value + AT_TRACE, sizeof(trace), trace, &is_zero[1]) ||
        !decode_hex(value + AT_PARENT, sizeof(parent), parent, &is_zero[2]) ||
        !decode_hex(value + AT_FLAGS, sizeof(flags), &flags, &is_zero[3]))
        return false;
    if (version == 0xFF || is_zero[1] || is_zero[2])
        return false;
    if (bytes > END && (version == 0 || value[END] != '-'))
        return false;
    memcpy(trace_id_out, trace, sizeof(trace));
    return true;
}
