/* Every key at and beyond its limits, through --set and through a file; what a single range cannot
 * say; and errors that say where. */
#include "config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct base_error error;
static char path[] = "/tmp/sluice-test-config-XXXXXX";
static int file = -1;

static void set_up(void)
{
    file = mkstemp(path);
    cr_assert_geq(file, 0);
    config_init(&config);
}

static void tear_down(void)
{
    close(file);
    unlink(path);
}

TestSuite(config, .init = set_up, .fini = tear_down);

static int set(const char *assignment)
{
    error.text[0] = '\0';
    return config_set(&config, assignment, &error);
}

static int load(const char *yaml)
{
    error.text[0] = '\0';
    cr_assert_eq(ftruncate(file, 0), 0);
    cr_assert_eq(pwrite(file, yaml, strlen(yaml), 0), (ssize_t)strlen(yaml));
    return config_load(&config, path, &error);
}

/* One key through --set or through a file; the value as text. */
static int apply(bool through_file, const char *name, const char *value)
{
    char line[256];
    snprintf(line, sizeof(line), through_file ? "%s: %s\n" : "%s=%s", name, value);
    return through_file ? load(line) : set(line);
}

static int apply_number(bool through_file, const struct config_key *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return apply(through_file, key->name, text);
}

Test(config, defaults_are_in_range_and_fit_each_other)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(config_get(&config, &keys[i]), keys[i].standard);
        cr_assert(keys[i].minimum <= keys[i].standard && keys[i].standard <= keys[i].maximum, "%s",
                  keys[i].name);
        cr_assert_gt(strlen(keys[i].reason), 0u);
    }
    cr_assert_eq(config_check(&config, &error), 0, "%s", error.text);
}

Test(config, every_field_has_a_key_of_its_own)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    size_t text_count;
    config_text_keys(&text_count);
    cr_assert_eq(count * sizeof(uint64_t) + text_count * CONFIG_TEXT_BYTES, sizeof(struct config));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            cr_assert(keys[i].offset != keys[j].offset && strcmp(keys[i].name, keys[j].name) != 0);
}

static void assert_range(bool through_file, const struct config_key *key)
{
    config_init(&config);
    cr_assert_eq(apply_number(through_file, key, key->minimum), 0, "%s", error.text);
    cr_assert_eq(config_get(&config, key), key->minimum);
    cr_assert_eq(apply_number(through_file, key, key->maximum), 0, "%s", error.text);
    cr_assert_eq(config_get(&config, key), key->maximum);
    cr_assert_lt(apply_number(through_file, key, key->maximum + 1), 0, "%s", key->name);
    cr_assert_not_null(strstr(error.text, key->name), "%s", error.text);
    if (key->minimum > 0)
        cr_assert_lt(apply_number(through_file, key, key->minimum - 1), 0, "%s", key->name);
    else
        cr_assert_lt(apply(through_file, key->name, "-1"), 0, "%s", key->name);
    cr_assert_eq(config_get(&config, key), key->maximum, "a refused value changes nothing");
}

Test(config, set_takes_every_key_from_minimum_to_maximum)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++)
        assert_range(false, &keys[i]);
}

Test(config, file_takes_every_key_from_minimum_to_maximum)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++)
        assert_range(true, &keys[i]);
}

Test(config, setting_one_key_leaves_the_others)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (int through_file = 0; through_file <= 1; through_file++)
        for (size_t i = 0; i < count; i++) {
            config_init(&config);
            cr_assert_eq(apply_number(through_file, &keys[i], keys[i].maximum), 0);
            for (size_t j = 0; j < count; j++)
                cr_assert_eq(config_get(&config, &keys[j]),
                             i == j ? keys[j].maximum : keys[j].standard);
        }
}

/* Not decimal integers; the last two are 1 modulo 2^64. */
static const char *const not_numbers[] = {
    "x",
    "1x",
    "0x400",
    "1.5",
    "1e3",
    "+1",
    "-1",
    "'1 2'",
    "[1]",
    "true",
    "-18446744073709551615",
    "18446744073709551617",
};

Test(config, set_takes_decimal_integers_only)
{
    static const char *const others[] = {"", " ", " 1", "1 ", "1\n", "1,000", "٣"};
    for (size_t i = 0; i < sizeof(not_numbers) / sizeof(not_numbers[0]); i++)
        cr_assert_lt(apply(false, "direct_descriptors", not_numbers[i]), 0, "%s was taken",
                     not_numbers[i]);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        cr_assert_lt(apply(false, "direct_descriptors", others[i]), 0, "%s was taken", others[i]);
    cr_assert_not_null(strstr(error.text, "decimal integer"), "%s", error.text);
}

Test(config, file_takes_decimal_integers_only)
{
    for (size_t i = 0; i < sizeof(not_numbers) / sizeof(not_numbers[0]); i++)
        cr_expect_lt(apply(true, "requests_max", not_numbers[i]), 0, "%s was taken as %" PRIu64,
                     not_numbers[i], config.requests_max);
}

/* Whatever way a number is given, it is the same number. */
Test(config, a_leading_zero_means_the_same_everywhere)
{
    cr_assert_eq(apply(false, "requests_max", "010"), 0);
    cr_assert_eq(config.requests_max, 10);
    config_init(&config);
    if (apply(true, "requests_max", "010") == 0)
        cr_assert_eq(config.requests_max, 10, "the file gives %" PRIu64, config.requests_max);
}

Test(config, set_refuses_what_is_no_assignment)
{
    static const char *const cases[] = {
        "",
        "=",
        "=1",
        "requests_max",
        "requests_max:1",
        "requests_max =1",
        " requests_max=1",
        "requests=1",
        "requests_maxx=1",
        "Requests_max=1",
        "requests_max=1=1",
        "no_such_key=1",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_lt(set(cases[i]), 0, "%s was taken", cases[i]);
        cr_assert_not_null(strstr(error.text, cases[i]), "%s", error.text);
    }
}

Test(config, file_sets_many_keys_at_once)
{
    cr_assert_eq(load("# limits of a small machine\n"
                      "requests_max: 12\n"
                      "\n"
                      "queue_slots:   64  # a power of two\n"
                      "mark_idle_ms: 7\n"),
                 0, "%s", error.text);
    cr_assert(config.requests_max == 12 && config.queue_slots == 64 && config.mark_idle_ms == 7);
    cr_assert_eq(config.connections_max, 8192);
}

Test(config, file_refuses_unknown_keys_and_other_shapes)
{
    static const char *const cases[] = {
        "no_such_key: 1\n",       "requests_max: 1\nno_such_key: 1\n",
        "- requests_max\n",       "requests_max\n",
        "requests_max: {a: 1}\n", "requests_max: 1\n  bad: indent\n",
        "{requests_max: 1\n",     "\x01\x02",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_lt(load(cases[i]), 0, "taken: %s", cases[i]);
        cr_assert_not_null(strstr(error.text, path), "no file in: %s", error.text);
    }
}

Test(config, an_unknown_key_in_a_file_is_named)
{
    cr_assert_lt(load("no_such_key: 1\n"), 0);
    cr_assert_not_null(strstr(error.text, "no_such_key"), "%s", error.text);
}

static void assert_names_line(const char *yaml, const char *line)
{
    cr_assert_lt(load(yaml), 0, "taken: %s", yaml);
    cr_expect_not_null(strstr(error.text, path), "no file in: %s", error.text);
    cr_expect_not_null(strstr(error.text, line), "no %s in: %s", line, error.text);
}

/* For an unknown key libcyaml tells the line of what came before it. */
Test(config, file_errors_say_the_line)
{
    assert_names_line("requests_max: 5\nno_such_key: 1\n", "line: ");
    assert_names_line("requests_max: 5\n\n\nqueue_slots: many\n", "line: 4");
    assert_names_line("requests_max: 5\nqueue_slots: [1]\n", "line: 2");
}

Test(config, a_value_out_of_range_in_a_file_says_the_line)
{
    assert_names_line("requests_max: 5\nqueue_slots: 1\n", "line: 2");
}

Test(config, a_file_that_does_not_exist_is_named)
{
    cr_assert_lt(config_load(&config, "/nonexistent/sluice.yaml", &error), 0);
    cr_assert_not_null(strstr(error.text, "/nonexistent/sluice.yaml"), "%s", error.text);
}

Test(config, a_file_without_keys_changes_nothing)
{
    struct config standard = config;
    cr_expect_eq(load("{}\n"), 0, "%s", error.text);
    cr_expect_eq(load("# nothing but a comment\n"), 0, "%s", error.text);
    cr_expect_eq(load(""), 0, "%s", error.text);
    cr_assert_arr_eq(&config, &standard, sizeof(config));
}

Test(config, a_text_is_taken_up_to_its_limit)
{
    size_t count;
    const struct config_text_key *keys = config_text_keys(&count);
    static char value[CONFIG_TEXT_BYTES + 1], assignment[CONFIG_TEXT_BYTES + 64];
    cr_assert_gt(count, 0u);
    for (size_t i = 0; i < count; i++) {
        cr_assert_str_eq(config_get_text(&config, &keys[i]), "", "none by default");
        cr_assert_eq(apply(true, keys[i].name, "a/b c"), 0, "%s", error.text);
        cr_assert_str_eq(config_get_text(&config, &keys[i]), "a/b c");
        memset(value, 'x', CONFIG_TEXT_BYTES - 1);
        value[CONFIG_TEXT_BYTES - 1] = '\0';
        snprintf(assignment, sizeof(assignment), "%s=%s", keys[i].name, value);
        cr_assert_eq(set(assignment), 0, "%s", error.text);
        cr_assert_str_eq(config_get_text(&config, &keys[i]), value);
        strcat(assignment, "x");
        cr_assert_eq(set(assignment), -ERANGE);
        cr_assert_not_null(strstr(error.text, "1023"), "%s", error.text);
        cr_assert_str_eq(config_get_text(&config, &keys[i]), value,
                         "a refused value changes nothing");
        snprintf(assignment, sizeof(assignment), "%s=", keys[i].name);
        cr_assert_eq(set(assignment), 0, "%s", error.text);
        cr_assert_str_eq(config_get_text(&config, &keys[i]), "");
    }
}

Test(config, a_text_in_a_file_beside_numbers)
{
    cr_assert_eq(load("requests_max: 12\nregistry: /etc/sluice/my registry\nmark_idle_ms: 7\n"), 0,
                 "%s", error.text);
    cr_assert_str_eq(config.registry, "/etc/sluice/my registry");
    cr_assert(config.requests_max == 12 && config.mark_idle_ms == 7);
    cr_assert_eq(set("registry=a=b"), 0, "%s", error.text);
    cr_assert_str_eq(config.registry, "a=b");
}

static void assert_check(const char *assignment, const char *complaint)
{
    cr_assert_eq(set(assignment), 0, "%s", error.text);
    if (complaint == NULL) {
        cr_assert_eq(config_check(&config, &error), 0, "%s: %s", assignment, error.text);
        return;
    }
    cr_assert_lt(config_check(&config, &error), 0, "%s was taken", assignment);
    cr_assert_not_null(strstr(error.text, complaint), "%s", error.text);
}

Test(config, counts_of_rings_are_powers_of_two)
{
    static const char *const names[] = {"queue_slots", "receive_buffers_max"};
    for (int i = 0; i < 2; i++) {
        char assignment[64];
        for (unsigned value = 8; value <= 300; value++) {
            bool power = (value & (value - 1)) == 0;
            snprintf(assignment, sizeof(assignment), "%s=%u", names[i], value);
            assert_check(assignment, power ? NULL : "power of two");
        }
        config_init(&config);
    }
}

Test(config, sizes_on_disk_are_multiples_of_a_block)
{
    assert_check("segment_bytes=67108865", "multiples of 4096");
    assert_check("segment_bytes=67112960", NULL);
    assert_check("batch_bytes_max=524289", "multiples of 4096");
    assert_check("batch_bytes_max=528384", NULL);
}

Test(config, a_batch_holds_the_largest_record)
{
    assert_check("body_bytes_max=65536", NULL);
    assert_check("body_bytes_max=524288", "raise it or lower body_bytes_max");
    assert_check("batch_bytes_max=1048576", NULL);
    assert_check("body_bytes_max=1048576", "raise it or lower body_bytes_max");
    assert_check("body_bytes_max=8388608", "raise it or lower body_bytes_max");
}

/* The largest body that passes is the largest one: a byte more does not. */
Test(config, a_batch_holds_exactly_the_largest_record)
{
    uint64_t low = 1024, high = config.batch_bytes_max;
    while (high - low > 1) {
        config.body_bytes_max = (low + high) / 2;
        if (config_check(&config, &error) == 0)
            low = config.body_bytes_max;
        else
            high = config.body_bytes_max;
    }
    cr_assert_gt(low, config.batch_bytes_max / 2, "the envelope takes less than the body");
    cr_assert_lt(low, config.batch_bytes_max);
}

Test(config, a_segment_holds_a_batch)
{
    assert_check("segment_bytes=1048576", NULL);
    assert_check("batch_bytes_max=1048576", "raise it");
    assert_check("segment_bytes=2097152", NULL);
}
