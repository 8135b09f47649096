#include "record/findings.h"

#include "base/check.h"
#include "base/clock.h"
#include "record/decimal.h"

#include <string.h>

#define NANOSECONDS_PER_MINUTE (60 * (int64_t)NANOSECONDS_PER_SECOND)
#define NANOSECONDS_PER_DAY    (1440 * NANOSECONDS_PER_MINUTE)

enum details { NOTE, ITEM };

static const struct {
    const char *text;
    uint8_t bytes;
    uint8_t details; /* enum details */
} codes[] = {
#define FINDING_ROW(name, code, details)                                                           \
    [RECORD_FINDING_##name] = {code, sizeof(code) - 1, details},
    RECORD_FINDING_EACH(FINDING_ROW)
#undef FINDING_ROW
};

static const struct record_text no_details = {NULL, 0};
static const struct record_text not_given = {"not given", 9};

/* One call of record_findings_check: what is found is gathered on the stack, and copied into the
 * arena when it is known how much there is. */
struct check {
    const struct record_submission *submission;
    uint64_t received_at_ns;
    uint32_t total; /* found */
    uint32_t count; /* kept: the first ones */
    uint32_t text_bytes;
    struct {
        enum record_finding_code code;
        struct record_text details;
    } kept[RECORD_FINDING_COUNT_MAX];
};

/* ---- Gathering ---- */

/* Bytes as base_text_json writes them, at most. */
static uint32_t json_bytes(struct record_text text)
{
    uint32_t bytes = text.bytes;
    for (uint32_t i = 0; i < text.bytes; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        bytes += byte < 0x20 ? 5 : byte == '"' || byte == '\\';
    }
    return bytes;
}

static uint32_t needed_bytes(enum record_finding_code code, struct record_text details)
{
    return codes[code].bytes + (details.data != NULL ? 1 + json_bytes(details) : 0);
}

static void keep(struct check *check, enum record_finding_code code, struct record_text details)
{
    check->kept[check->count].code = code;
    check->kept[check->count].details = details;
    check->text_bytes += needed_bytes(code, details);
    check->count++;
}

static void add(struct check *check, enum record_finding_code code, struct record_text details)
{
    bool all_kept = check->count == check->total;
    check->total++;
    if (all_kept && check->count < RECORD_FINDING_COUNT_MAX &&
        check->text_bytes + needed_bytes(code, details) <= RECORD_FINDINGS_TEXT_BYTES_MAX)
        keep(check, code, details);
}

/* Where not all were kept, the last one says how many more there are. */
#define COUNT_DIGITS 10

static void add_more(struct check *check, char digits[COUNT_DIGITS])
{
    struct record_text longest = {"0000000000", COUNT_DIGITS};
    if (check->count == check->total)
        return;
    while (check->count == RECORD_FINDING_COUNT_MAX ||
           check->text_bytes + needed_bytes(RECORD_FINDING_MORE_FINDINGS, longest) >
               RECORD_FINDINGS_TEXT_BYTES_MAX) {
        check->count--;
        check->text_bytes -=
            needed_bytes(check->kept[check->count].code, check->kept[check->count].details);
    }
    uint32_t more = check->total - check->count, bytes = 0;
    for (uint32_t rest = more; rest > 0; rest /= 10)
        digits[COUNT_DIGITS - ++bytes] = (char)('0' + rest % 10);
    keep(check, RECORD_FINDING_MORE_FINDINGS,
         (struct record_text){digits + COUNT_DIGITS - bytes, bytes});
}

static struct record_text copy_text(struct record_arena *arena, enum record_finding_code code,
                                    struct record_text details)
{
    uint32_t bytes = codes[code].bytes + (details.data != NULL ? 1 + details.bytes : 0);
    char *text = record_arena_alloc(arena, bytes, 1);
    CHECK(text != NULL && bytes <= RECORD_FINDING_BYTES_MAX);
    memcpy(text, codes[code].text, codes[code].bytes);
    if (details.data != NULL)
        memcpy(text + codes[code].bytes + 1, details.data, details.bytes); /* the NUL is there */
    return (struct record_text){text, bytes};
}

static void finish(struct check *check, struct record_arena *arena, struct record_text version,
                   struct record_findings *findings_out)
{
    char digits[COUNT_DIGITS];
    add_more(check, digits);
    char *version_copy = record_arena_alloc(arena, version.bytes, 1);
    CHECK(version_copy != NULL);
    memcpy(version_copy, version.data, version.bytes);
    *findings_out = (struct record_findings){NULL, check->count, {version_copy, version.bytes}};
    if (check->count == 0)
        return;
    struct record_text *list =
        record_arena_alloc(arena, check->count * sizeof(*list), _Alignof(struct record_text));
    CHECK(list != NULL);
    for (uint32_t i = 0; i < check->count; i++)
        list[i] = copy_text(arena, check->kept[i].code, check->kept[i].details);
    findings_out->list = list;
}

/* ---- Times ---- */

static void check_clock(struct check *check, int64_t skew_ns, int64_t future_ns)
{
    /* both lie within 1970 to 2262, so the difference fits */
    int64_t ahead_ns = check->submission->device_time_ns - (int64_t)check->received_at_ns;
    if (ahead_ns > future_ns)
        add(check, RECORD_FINDING_FUTURE_TIMESTAMP, no_details);
    else if (ahead_ns > skew_ns)
        add(check, RECORD_FINDING_CLOCK_SKEW, no_details);
}

/* Outside of all windows, the nearer edge decides: less time since the last one ended than until
 * the next one begins is late, more is early. */
static void check_window(struct check *check, const struct record_registry_use *use, int64_t day_ns)
{
    int64_t since_end = NANOSECONDS_PER_DAY, until_start = NANOSECONDS_PER_DAY;
    for (uint32_t i = 0; i < use->window_count; i++) {
        const struct record_registry_window *window = &use->windows[i];
        int64_t since_start =
            (day_ns - window->from_ns + NANOSECONDS_PER_DAY) % NANOSECONDS_PER_DAY;
        if (since_start <= window->length_ns)
            return;
        if (since_start - window->length_ns < since_end)
            since_end = since_start - window->length_ns;
        if (NANOSECONDS_PER_DAY - since_start < until_start)
            until_start = NANOSECONDS_PER_DAY - since_start;
    }
    add(check, since_end <= until_start ? RECORD_FINDING_LATE : RECORD_FINDING_EARLY, no_details);
}

/* The device's local time, by its own offset or by its centre's. */
static void check_windows(struct check *check, const struct record_registry_use *use,
                          const struct record_registry_center *center)
{
    const struct record_submission *submission = check->submission;
    int64_t offset_minutes = submission->device_offset_minutes;
    if (use->window_count == 0)
        return;
    if (!submission->device_offset_known) {
        if (center == NULL || !center->offset_known) {
            add(check, RECORD_FINDING_WINDOW_NOT_CHECKED, no_details);
            return;
        }
        offset_minutes = center->offset_minutes;
    }
    int64_t day_ns = (submission->device_time_ns % NANOSECONDS_PER_DAY +
                      offset_minutes * NANOSECONDS_PER_MINUTE + NANOSECONDS_PER_DAY) %
                     NANOSECONDS_PER_DAY;
    check_window(check, use, day_ns);
}

/* ---- Items ---- */

/* JSON null, and the empty text of a field that was left blank. */
static bool is_unanswered(const struct record_score *score)
{
    return score->type == RECORD_JSON_NULL ||
           (score->type == RECORD_JSON_STRING && score->value.bytes == 0);
}

/* RECORD_FINDING_CODE_COUNT: nothing found. */
static enum record_finding_code check_number(const struct record_registry_item *item,
                                             const struct record_score *score)
{
    struct record_decimal value;
    if (score->type != RECORD_JSON_NUMBER ||
        !record_decimal_parse(score->value.data, score->value.bytes, &value))
        return RECORD_FINDING_WRONG_TYPE;
    if (record_decimal_compare(&value, item->min_millionths) < 0 ||
        record_decimal_compare(&value, item->max_millionths) > 0)
        return RECORD_FINDING_OUT_OF_RANGE;
    if (item->type == RECORD_REGISTRY_INTEGER && !record_decimal_is_whole(&value))
        return RECORD_FINDING_WRONG_TYPE;
    return RECORD_FINDING_CODE_COUNT;
}

static enum record_finding_code check_choice(const struct record_registry_item *item,
                                             const struct record_score *score)
{
    struct record_decimal value;
    bool is_number = score->type == RECORD_JSON_NUMBER;
    if (is_number ? !item->number_choices : !item->text_choices)
        return RECORD_FINDING_WRONG_TYPE;
    if (is_number && !record_decimal_parse(score->value.data, score->value.bytes, &value))
        return RECORD_FINDING_WRONG_TYPE;
    for (uint32_t i = 0; i < item->choice_count; i++) {
        const struct record_registry_choice *choice = &item->choices[i];
        if (is_number != (choice->text.data == NULL))
            continue;
        if (is_number ? record_decimal_compare(&value, choice->millionths) == 0
                      : choice->text.bytes == score->value.bytes &&
                            memcmp(choice->text.data, score->value.data, choice->text.bytes) == 0)
            return RECORD_FINDING_CODE_COUNT;
    }
    return RECORD_FINDING_OUT_OF_RANGE;
}

static enum record_finding_code check_answer(const struct record_registry_item *item,
                                             const struct record_score *score)
{
    switch ((enum record_registry_type)item->type) {
    case RECORD_REGISTRY_INTEGER:
    case RECORD_REGISTRY_NUMBER:
        return check_number(item, score);
    case RECORD_REGISTRY_TEXT:
        return score->type == RECORD_JSON_STRING ? RECORD_FINDING_CODE_COUNT
                                                 : RECORD_FINDING_WRONG_TYPE;
    case RECORD_REGISTRY_CHOICE:
        return check_choice(item, score);
    }
    CHECK_NEVER("an item of no type");
}

/* In the order of the body, then what is missing in the order of the instrument. */
static void check_items(struct check *check, const struct record_registry_version *version)
{
    uint64_t answered[RECORD_REGISTRY_ITEM_WORDS] = {0};
    uint32_t hint = 0;
    for (uint32_t i = 0; i < check->submission->score_count; i++) {
        const struct record_score *score = &check->submission->scores[i];
        const struct record_registry_item *item = record_registry_item(version, score->item, hint);
        if (item == NULL) {
            add(check, RECORD_FINDING_UNKNOWN_ITEM, score->item);
            continue;
        }
        uint32_t index = (uint32_t)(item - version->items);
        hint = index + 1;
        if (is_unanswered(score))
            continue;
        answered[index / 64] |= UINT64_C(1) << index % 64;
        enum record_finding_code code = check_answer(item, score);
        if (code != RECORD_FINDING_CODE_COUNT)
            add(check, code, score->item);
    }
    for (uint32_t word = 0; word < (version->item_count + 63) / 64; word++)
        for (uint64_t missing = version->required[word] & ~answered[word]; missing != 0;
             missing &= missing - 1)
            add(check, RECORD_FINDING_MISSING_ITEM,
                version->items[word * 64 + (uint32_t)__builtin_ctzll(missing)].id);
}

/* ---- The submission ---- */

static void add_unknown(struct check *check, enum record_finding_code code, struct record_text id)
{
    add(check, code, id.data == NULL ? not_given : no_details);
}

/* What is not known cannot be checked against: an unknown instrument says nothing of its items. */
static void check_study(struct check *check, const struct record_registry_study *study)
{
    const struct record_submission *submission = check->submission;
    const struct record_registry_center *center =
        record_registry_center(study, submission->center_id);
    const struct record_registry_use *use = record_registry_use(study, submission->instrument);
    const struct record_registry_version *version = NULL;
    if (center == NULL)
        add_unknown(check, RECORD_FINDING_UNKNOWN_CENTER, submission->center_id);
    if (use == NULL) {
        add_unknown(check, RECORD_FINDING_UNKNOWN_INSTRUMENT, submission->instrument);
    } else {
        version = record_registry_version(use, submission->form_version);
        if (submission->form_version.data == NULL && use->version_count == 1)
            version = use->versions[0]; /* there is only one that it can be */
        if (version == NULL)
            add_unknown(check, RECORD_FINDING_UNKNOWN_VERSION, submission->form_version);
    }
    check_clock(check, study->skew_ns, study->future_ns);
    if (use != NULL)
        check_windows(check, use, center);
    if (version != NULL)
        check_items(check, version);
}

void record_findings_check(const struct record_registry *registry,
                           const struct record_submission *submission, uint64_t received_at_ns,
                           struct record_arena *arena, struct record_findings *findings_out)
{
    struct check check; /* not cleared: only what was kept is read */
    CHECK_OBJECT(registry, RECORD_REGISTRY_MAGIC);
    check.submission = submission;
    check.received_at_ns = received_at_ns;
    check.total = check.count = check.text_bytes = 0;
    const struct record_registry_study *study =
        record_registry_study(registry, submission->study_id);
    if (study != NULL) {
        check_study(&check, study);
    } else {
        add_unknown(&check, RECORD_FINDING_UNKNOWN_STUDY, submission->study_id);
        check_clock(&check, RECORD_REGISTRY_SKEW_S_STANDARD * (int64_t)NANOSECONDS_PER_SECOND,
                    RECORD_REGISTRY_FUTURE_S_STANDARD * (int64_t)NANOSECONDS_PER_SECOND);
    }
    finish(&check, arena, study != NULL ? study->version : registry->version, findings_out);
}

uint32_t record_finding_code_bytes(struct record_text finding)
{
    const char *end = memchr(finding.data, '\0', finding.bytes);
    return end != NULL ? (uint32_t)(end - finding.data) : finding.bytes;
}

bool record_finding_names_item(struct record_text finding)
{
    uint32_t bytes = record_finding_code_bytes(finding);
    for (int i = 0; i < RECORD_FINDING_CODE_COUNT; i++)
        if (codes[i].bytes == bytes && memcmp(codes[i].text, finding.data, bytes) == 0)
            return codes[i].details == ITEM;
    return false;
}
