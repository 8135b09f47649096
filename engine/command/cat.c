/* `sluice cat`: a JSON object a line, through the public reader. */
#include "base/text.h"
#include "command/command.h"
#include "sluice/reader.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNALS_MAX        1024
#define ENVELOPE_TEXT_BYTES 65536 /* every field of an envelope at its limit, all escaped */

struct selection {
    bool raw;
    bool one_journal;
    uint32_t journal;
    uint64_t from;
    uint64_t left; /* records still to print */
};

struct output {
    char *line;
    size_t capacity;
};

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
    static const char *const kinds[] = {"", "submission", "conflict", "correction"};
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
    base_text_string(text, ",\"kind\":\"");
    base_text_string(text, kinds[record->kind]);
    base_text_string(text, "\",\"body\":");
    body(text, record->body);
    base_text_string(text, "}\n");
}

/* False when stdout is gone. */
static bool print_record(struct output *output, const struct sluice_record *record, bool raw)
{
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

static int print_journal(const char *directory, uint32_t journal, struct selection *selection,
                         struct output *output)
{
    char error_text[1024];
    struct sluice_reader *reader;
    struct sluice_record record;
    if (sluice_reader_open(directory, journal, selection->from, &reader, error_text,
                           sizeof(error_text)) < 0) {
        fprintf(stderr, "sluice: %s\n", error_text);
        return COMMAND_EXIT_FAILED;
    }
    int exit_code = COMMAND_EXIT_DONE;
    while (selection->left > 0 && exit_code == COMMAND_EXIT_DONE) {
        int result = sluice_reader_next(reader, &record);
        if (result == 0)
            break;
        if (result < 0) {
            fprintf(stderr, "sluice: %s\n", sluice_reader_error(reader));
            exit_code = result == -EBADMSG ? COMMAND_EXIT_NO : COMMAND_EXIT_FAILED;
        } else if (!print_record(output, &record, selection->raw)) {
            fprintf(stderr, "sluice: cannot write to standard output: %s\n", strerror(errno));
            exit_code = COMMAND_EXIT_FAILED;
        }
        selection->left--;
    }
    sluice_reader_close(reader);
    return exit_code;
}

static bool parse_number(const char *text, uint64_t maximum, uint64_t *number_out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *number_out = number;
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && number <= maximum;
}

static bool parse_options(int argc, char **argv, struct selection *selection)
{
    static const struct option options[] = {
        {"raw", no_argument, NULL, 'r'},
        {"journal", required_argument, NULL, 'j'},
        {"from", required_argument, NULL, 'f'},
        {"limit", required_argument, NULL, 'l'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = 0;
        if (option == '?')
            return false;
        if (option != 'r' &&
            !parse_number(optarg, option == 'j' ? UINT32_MAX : UINT64_MAX, &number)) {
            fprintf(stderr, "sluice: \"%s\" is not a number in range\n", optarg);
            return false;
        }
        if (option == 'r')
            selection->raw = true;
        if (option == 'j') {
            selection->one_journal = true;
            selection->journal = (uint32_t)number;
        }
        if (option == 'f')
            selection->from = number;
        if (option == 'l')
            selection->left = number;
    }
    if (optind + 1 == argc)
        return true;
    fprintf(stderr, "sluice: cat takes one data directory\n");
    return false;
}

int command_cat(int argc, char **argv)
{
    struct selection selection = {.from = 1, .left = UINT64_MAX};
    struct output output = {NULL, 0};
    uint32_t journals[JOURNALS_MAX];
    char error_text[1024];
    if (!parse_options(argc, argv, &selection))
        return EX_USAGE;
    const char *directory = argv[optind];
    int count =
        sluice_reader_journals(directory, journals, JOURNALS_MAX, error_text, sizeof(error_text));
    if (count < 0) {
        fprintf(stderr, "sluice: %s\n", error_text);
        return COMMAND_EXIT_FAILED;
    }
    int exit_code = COMMAND_EXIT_DONE;
    for (int i = 0; i < count && exit_code == COMMAND_EXIT_DONE; i++)
        if (!selection.one_journal || journals[i] == selection.journal)
            exit_code = print_journal(directory, journals[i], &selection, &output);
    free(output.line);
    if (fflush(stdout) != 0 && exit_code == COMMAND_EXIT_DONE) {
        fprintf(stderr, "sluice: cannot write to standard output: %s\n", strerror(errno));
        exit_code = COMMAND_EXIT_FAILED;
    }
    return exit_code;
}
