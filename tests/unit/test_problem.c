/* The table of problems, and JSON pointers that are escaped and cut. */
#include "base/problem.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

Test(problem, every_kind_has_a_row)
{
    for (int kind = BASE_PROBLEM_NONE + 1; kind < BASE_PROBLEM_KIND_COUNT; kind++) {
        const struct base_problem_class *class =
            base_problem_class_of((enum base_problem_kind)kind);
        cr_assert(class->status >= 400 && class->status <= 599, "kind %d", kind);
        cr_assert_not_null(class->slug);
        cr_assert_gt(strlen(class->title), 0u);
        cr_assert_gt(strlen(class->slug), 0u);
        for (const char *at = class->slug; *at != '\0'; at++)
            cr_assert(islower((unsigned char)*at) || *at == '-', "%s", class->slug);
    }
}

Test(problem, slugs_and_titles_are_unique)
{
    for (int a = 1; a < BASE_PROBLEM_KIND_COUNT; a++)
        for (int b = a + 1; b < BASE_PROBLEM_KIND_COUNT; b++) {
            const struct base_problem_class *one = base_problem_class_of((enum base_problem_kind)a);
            const struct base_problem_class *other =
                base_problem_class_of((enum base_problem_kind)b);
            cr_assert_str_neq(one->slug, other->slug);
            cr_assert_str_neq(one->title, other->title);
        }
}

/* Clients match on these. */
Test(problem, slugs_never_change)
{
    static const struct {
        enum base_problem_kind kind;
        uint16_t status;
        const char *slug;
    } frozen[] = {
        {BASE_PROBLEM_MALFORMED_REQUEST, 400, "malformed-request"},
        {BASE_PROBLEM_MALFORMED_JSON, 400, "malformed-json"},
        {BASE_PROBLEM_NOT_FOUND, 404, "not-found"},
        {BASE_PROBLEM_METHOD_NOT_ALLOWED, 405, "method-not-allowed"},
        {BASE_PROBLEM_REQUEST_TIMEOUT, 408, "request-timeout"},
        {BASE_PROBLEM_LENGTH_REQUIRED, 411, "length-required"},
        {BASE_PROBLEM_BODY_TOO_LARGE, 413, "body-too-large"},
        {BASE_PROBLEM_URI_TOO_LONG, 414, "uri-too-long"},
        {BASE_PROBLEM_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported-media-type"},
        {BASE_PROBLEM_EXPECTATION_FAILED, 417, "expectation-failed"},
        {BASE_PROBLEM_INVALID_SUBMISSION, 422, "invalid-submission"},
        {BASE_PROBLEM_HEADERS_TOO_LARGE, 431, "headers-too-large"},
        {BASE_PROBLEM_NOT_IMPLEMENTED, 501, "not-implemented"},
        {BASE_PROBLEM_OVERLOADED, 503, "overloaded"},
        {BASE_PROBLEM_DRAINING, 503, "draining"},
        {BASE_PROBLEM_JOURNAL_FAILED, 503, "journal-failed"},
        {BASE_PROBLEM_DISK_FULL, 503, "disk-full"},
        {BASE_PROBLEM_VERSION_NOT_SUPPORTED, 505, "version-not-supported"},
    };
    for (size_t i = 0; i < sizeof(frozen) / sizeof(frozen[0]); i++) {
        cr_assert_eq(base_problem_class_of(frozen[i].kind)->status, frozen[i].status);
        cr_assert_str_eq(base_problem_class_of(frozen[i].kind)->slug, frozen[i].slug);
    }
}

Test(problem, set_clears_the_pointer)
{
    struct base_problem problem;
    memset(&problem, 'x', sizeof(problem));
    base_problem_set(&problem, BASE_PROBLEM_DRAINING, "%d of %s", 1, "many");
    cr_assert_eq(problem.kind, BASE_PROBLEM_DRAINING);
    cr_assert_str_eq(problem.pointer, "");
    cr_assert_str_eq(problem.detail, "1 of many");
}

Test(problem, set_cuts_a_detail_that_is_too_long)
{
    struct base_problem problem;
    char detail[BASE_PROBLEM_DETAIL_BYTES + 1];
    memset(detail, 'a', BASE_PROBLEM_DETAIL_BYTES);
    detail[BASE_PROBLEM_DETAIL_BYTES] = '\0';
    base_problem_set(&problem, BASE_PROBLEM_DRAINING, "%s", detail);
    cr_assert_eq(strlen(problem.detail), BASE_PROBLEM_DETAIL_BYTES - 1);
    base_problem_set(&problem, BASE_PROBLEM_DRAINING, "%s", detail + 2);
    cr_assert_str_eq(problem.detail, detail + 2, "what fits is not cut");
}

static void push(struct base_problem *problem, const char *name)
{
    base_problem_pointer_push(problem, name, strlen(name));
}

Test(problem, pointer_escapes_tilde_and_slash)
{
    struct base_problem problem;
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    push(&problem, "scores");
    push(&problem, "a/b~c");
    push(&problem, "");
    push(&problem, "~1");
    push(&problem, "//~~");
    cr_assert_str_eq(problem.pointer, "/scores/a~1b~0c//~01/~1~1~0~0");
}

Test(problem, pointer_takes_no_more_of_a_name_than_its_length)
{
    struct base_problem problem;
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    base_problem_pointer_push(&problem, "scores", 3);
    base_problem_pointer_push(&problem, "~x", 1);
    cr_assert_str_eq(problem.pointer, "/sco/~0");
}

static bool is_valid_utf8(const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    while (*at != 0) {
        int more = *at < 0x80 ? 0 : *at >= 0xF0 ? 3 : *at >= 0xE0 ? 2 : *at >= 0xC2 ? 1 : -1;
        if (more < 0)
            return false;
        for (at++; more > 0; more--, at++)
            if ((*at & 0xC0) != 0x80)
                return false;
    }
    return true;
}

static bool is_cut(const char *pointer)
{
    size_t bytes = strlen(pointer);
    return bytes >= 3 && strcmp(pointer + bytes - 3, "...") == 0;
}

/* A prefix of `prefix_bytes` ASCII characters, then one character over and over: the cut comes at
 * every possible place inside it. */
static void assert_cut(size_t prefix_bytes, const char *character, const char *escaped)
{
    struct base_problem problem;
    char name[1024], expected[2048];
    memset(name, 'a', prefix_bytes);
    memset(expected, 'a', prefix_bytes + 1);
    expected[0] = '/';
    size_t bytes = prefix_bytes, expected_bytes = prefix_bytes + 1;
    while (bytes + 4 < sizeof(name)) {
        memcpy(name + bytes, character, strlen(character));
        memcpy(expected + expected_bytes, escaped, strlen(escaped));
        bytes += strlen(character);
        expected_bytes += strlen(escaped);
    }
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    base_problem_pointer_push(&problem, name, bytes);
    size_t length = strnlen(problem.pointer, sizeof(problem.pointer));
    cr_assert(length < sizeof(problem.pointer) && is_cut(problem.pointer), "%s", problem.pointer);
    cr_assert_gt(length, sizeof(problem.pointer) - 8, "cut too early");
    cr_assert_arr_eq(problem.pointer, expected, length - 3);
    cr_assert(is_valid_utf8(problem.pointer), "%s", problem.pointer);
    cr_assert_eq((length - 3 - 1 - prefix_bytes) % strlen(escaped), 0u,
                 "cut inside a character: %s", problem.pointer);
}

Test(problem, pointer_is_cut_between_characters)
{
    static const char *const characters[][2] = {
        {"a", "a"},  {"\xC3\xA4", "\xC3\xA4"},
        {"/", "~1"}, {"\xE2\x82\xAC", "\xE2\x82\xAC"},
        {"~", "~0"}, {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++)
        for (size_t prefix = 0; prefix < 12; prefix++)
            assert_cut(prefix, characters[i][0], characters[i][1]);
}

Test(problem, pointer_that_just_fits_is_not_cut)
{
    struct base_problem problem;
    char name[BASE_PROBLEM_POINTER_BYTES];
    memset(name, 'a', sizeof(name));
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    base_problem_pointer_push(&problem, name, BASE_PROBLEM_POINTER_BYTES - 5);
    cr_assert_eq(strlen(problem.pointer), BASE_PROBLEM_POINTER_BYTES - 4);
    cr_assert_not(is_cut(problem.pointer));
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    base_problem_pointer_push(&problem, name, BASE_PROBLEM_POINTER_BYTES - 4);
    cr_assert(is_cut(problem.pointer));
}

Test(problem, pointer_that_is_cut_stays_as_it_is)
{
    struct base_problem problem;
    char name[BASE_PROBLEM_POINTER_BYTES], before[BASE_PROBLEM_POINTER_BYTES];
    memset(name, 'a', sizeof(name));
    base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
    base_problem_pointer_push(&problem, name, sizeof(name));
    memcpy(before, problem.pointer, sizeof(before));
    push(&problem, "b");
    push(&problem, "");
    cr_assert_str_eq(problem.pointer, before);
}

/* Whatever is pushed: the pointer is the whole one, or a prefix of it that ends in "...". */
Test(problem, pointer_never_loses_a_name_without_saying_so)
{
    for (size_t first = 0; first < BASE_PROBLEM_POINTER_BYTES; first++) {
        struct base_problem problem;
        char name[BASE_PROBLEM_POINTER_BYTES], expected[2 * BASE_PROBLEM_POINTER_BYTES];
        memset(name, 'a', sizeof(name));
        base_problem_set(&problem, BASE_PROBLEM_INVALID_SUBMISSION, "x");
        base_problem_pointer_push(&problem, name, first);
        push(&problem, "b");
        snprintf(expected, sizeof(expected), "/%.*s/b", (int)first, name);
        if (!is_cut(problem.pointer))
            cr_assert_str_eq(problem.pointer, expected, "after a name of %zu bytes", first);
        else
            cr_assert_arr_eq(problem.pointer, expected, strlen(problem.pointer) - 3);
    }
}
