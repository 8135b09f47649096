#include "command/print.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENVELOPE_TEXT_BYTES 65536 /* every field of an envelope at its limit, all escaped */

static void member(struct base_text *text, const char *name, struct sluice_text value)
{
    base_text_string(text, ",\"");
    base_text_string(text, name);
    base_text_string(text, "\":");
    if (value.data == NULL)
        base_text_string(text, "null");
    else
        base_text_json(text, value.data, value.bytes);
}

/* The device's own local time with its offset, or UTC where it gave none. */
static void device_time(struct base_text *text, const struct sluice_record *record)
{
    int64_t ns = record->device_time_ns + (int64_t)record->device_offset_minutes * 60000000000;
    if (record->kind == SLUICE_RECORD_LOST) {
        base_text_string(text, ",\"timestamp\":null");
        return;
    }
    bool shifted = record->device_offset_known && record->device_offset_minutes != 0 && ns >= 0;
    base_text_string(text, ",\"timestamp\":\"");
    base_text_time(text, (uint64_t)(shifted ? ns : record->device_time_ns));
    if (shifted) {
        int minutes = abs(record->device_offset_minutes);
        char offset[8];
        snprintf(offset, sizeof(offset), "%c%02u:%02u",
                 record->device_offset_minutes < 0 ? '-' : '+', (unsigned)minutes / 60 % 100,
                 (unsigned)minutes % 60);
        text->bytes--; /* the Z */
        base_text_string(text, offset);
    }
    base_text_string(text, "\"");
}

static void findings(struct base_text *text, const struct sluice_record *record)
{
    base_text_string(text, ",\"findings\":[");
    for (size_t i = 0; i < record->finding_count; i++) {
        const struct sluice_text *finding = &record->findings[i];
        const char *split = memchr(finding->data, '\0', finding->bytes);
        size_t code_bytes = split != NULL ? (size_t)(split - finding->data) : finding->bytes;
        base_text_string(text, i > 0 ? ",{\"code\":" : "{\"code\":");
        base_text_json(text, finding->data, code_bytes);
        if (split != NULL) {
            base_text_string(text, ",\"detail\":");
            base_text_json(text, split + 1, finding->bytes - code_bytes - 1);
        }
        base_text_string(text, "}");
    }
    base_text_string(text, "]");
}

/* The body is valid JSON, so a line end in it is white space between tokens: a blank keeps the
 * object on one line and the value what it was. */
static void body(struct base_text *text, struct sluice_text value)
{
    size_t start = text->bytes;
    base_text_append(text, value.data, value.bytes);
    for (size_t i = start; i < text->bytes; i++)
        if (text->start[i] == '\n' || text->start[i] == '\r')
            text->start[i] = ' ';
}

static void format_record(struct base_text *text, const struct sluice_record *record)
{
    static const char *const kinds[] = {"", "submission", "conflict", "correction", "lost"};
    base_text_string(text, "{\"journal\":");
    base_text_unsigned(text, record->journal);
    base_text_string(text, ",\"sequence\":");
    base_text_unsigned(text, record->sequence);
    base_text_string(text, ",\"receivedAt\":\"");
    base_text_time(text, record->received_at_ns);
    base_text_string(text, "\"");
    member(text, "submissionId", record->submission_id);
    member(text, "studyId", record->study_id);
    member(text, "centerId", record->center_id);
    member(text, "patientId", record->patient_id);
    member(text, "instrument", record->instrument);
    device_time(text, record);
    base_text_string(text, ",\"traceId\":\"");
    base_text_hex(text, record->trace_id, sizeof(record->trace_id));
    base_text_string(text, "\",\"sha256\":\"");
    base_text_hex(text, record->sha256, sizeof(record->sha256));
    base_text_string(text, "\"");
    findings(text, record);
    if (record->credential.data != NULL)
        member(text, "credential", record->credential);
    if (record->registry_version.data != NULL)
        member(text, "registryVersion", record->registry_version);
    base_text_string(text, ",\"kind\":\"");
    base_text_string(text, kinds[record->kind]);
    base_text_string(text, "\",\"body\":");
    if (record->kind == SLUICE_RECORD_LOST)
        base_text_string(text, "null");
    else
        body(text, record->body);
    base_text_string(text, "}\n");
}

bool print_record(struct print_output *output, const struct sluice_record *record, bool raw)
{
    if (raw && record->kind == SLUICE_RECORD_LOST)
        return true; /* there is no body, which is not the same as an empty one */
    if (raw)
        return fwrite(record->body.data, 1, record->body.bytes, stdout) == record->body.bytes &&
               putchar('\n') != EOF;
    size_t needed = ENVELOPE_TEXT_BYTES + record->body.bytes;
    if (needed > output->capacity) {
        char *larger = realloc(output->line, needed);
        if (larger == NULL)
            return false;
        output->line = larger;
        output->capacity = needed;
    }
    struct base_text text;
    base_text_init(&text, output->line, output->capacity);
    format_record(&text, record);
    return !text.overflow && fwrite(text.start, 1, text.bytes, stdout) == text.bytes;
}

void print_output_fini(struct print_output *output)
{
    free(output->line);
    *output = (struct print_output){NULL, 0};
}

bool print_parse_number(const char *text, uint64_t maximum, uint64_t *number_out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *number_out = number;
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && number <= maximum;
}
