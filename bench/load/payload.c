#include "load/payload.h"

#include "base/check.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char smallest[] =
    "{\"patientId\":\"01-701-1015\",\"timestamp\":1772391900,\"scores\":{\"Q1\":3,\"Q2\":0}}";
static_assert(sizeof(smallest) - 1 == LOAD_BODY_BYTES_MIN, "the size it is named for");

static const char id_member[] = "\"submissionId\":\"";

static uint32_t find_id(const char *data, size_t bytes)
{
    const char *member = memmem(data, bytes, id_member, sizeof(id_member) - 1);
    if (member == NULL)
        return 0;
    size_t at = (size_t)(member - data) + sizeof(id_member) - 1;
    const char *end = memchr(data + at, '"', bytes - at);
    return end == data + at + BASE_UUID_TEXT_BYTES ? (uint32_t)at : 0;
}

static int no_memory(struct base_error *error)
{
    return base_error_set(error, -ENOMEM, "out of memory for the bodies");
}

/* The whole file, NUL-terminated; NULL after an error. */
static char *read_file(const char *path, size_t *bytes_out, struct base_error *error)
{
    char *text = NULL;
    long bytes = -1;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (bytes >= 0 && fseek(file, 0, SEEK_SET) == 0)
        text = malloc((size_t)bytes + 1);
    if (text == NULL || fread(text, 1, (size_t)bytes, file) != (size_t)bytes) {
        base_error_os(error, errno != 0 ? -errno : -EIO, "cannot read %s", path);
        free(text);
        text = NULL;
    } else {
        text[bytes] = '\0';
        *bytes_out = (size_t)bytes;
    }
    if (file != NULL)
        fclose(file);
    return text;
}

static int add_line(struct load_payload *payload, const char *line, size_t bytes)
{
    struct load_body *larger =
        realloc(payload->bodies, (payload->count + 1) * sizeof(*payload->bodies));
    if (larger == NULL)
        return -ENOMEM;
    payload->bodies = larger;
    larger[payload->count++] = (struct load_body){line, (uint32_t)bytes, find_id(line, bytes)};
    if (bytes > payload->bytes_max)
        payload->bytes_max = (uint32_t)bytes;
    return 0;
}

int load_payload_from_file(struct load_payload *payload, const char *path, struct base_error *error)
{
    size_t bytes = 0;
    *payload = (struct load_payload){.memory = read_file(path, &bytes, error)};
    if (payload->memory == NULL)
        return error->code;
    int result = 0;
    char *line = payload->memory, *end = payload->memory + bytes;
    for (unsigned number = 1; line < end && result == 0; number++) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline != NULL ? newline : end) - line);
        if (length > LOAD_BODY_BYTES_MAX)
            result = base_error_set(error, -EFBIG,
                                    "%s, line %u has %zu bytes; a body may have %d at most", path,
                                    number, length, LOAD_BODY_BYTES_MAX);
        else if (length > 0 && add_line(payload, line, length) < 0)
            result = no_memory(error);
        line += length + 1;
    }
    if (result == 0 && payload->count == 0)
        result = base_error_set(error, -ENODATA, "%s holds no body: one JSON object a line", path);
    if (result < 0)
        load_payload_fini(payload);
    return result;
}

/* The smallest form, with a member behind it that fills the rest; too little room for one becomes
 * spaces. */
int load_payload_synthetic(struct load_payload *payload, uint64_t bytes, struct base_error *error)
{
    static const char start[] = ",\"comment\":\"", end[] = "\"}";
    CHECK(bytes >= LOAD_BODY_BYTES_MIN && bytes <= LOAD_BODY_BYTES_MAX);
    char *body = malloc(bytes);
    *payload = (struct load_payload){.memory = body};
    if (body == NULL)
        return no_memory(error);
    memset(body, ' ', bytes);
    memcpy(body, smallest, sizeof(smallest) - 1);
    size_t used = sizeof(smallest) - 2; /* before the closing brace */
    if (bytes >= used + sizeof(start) - 1 + sizeof(end) - 1) {
        memset(body + used, 'x', bytes - used);
        memcpy(body + used, start, sizeof(start) - 1);
        memcpy(body + bytes - (sizeof(end) - 1), end, sizeof(end) - 1);
    }
    if (add_line(payload, body, bytes) == 0)
        return 0;
    load_payload_fini(payload);
    return no_memory(error);
}

void load_payload_fini(struct load_payload *payload)
{
    free(payload->bodies);
    free(payload->memory);
    *payload = (struct load_payload){.bodies = NULL};
}

void load_payload_write(const struct load_body *body, struct base_random *random, uint64_t now_ns,
                        char *out)
{
    memcpy(out, body->data, body->bytes);
    if (body->id_at > 0)
        base_random_uuid7(random, now_ns, out + body->id_at);
}
