/* The file of credentials: what is taken, what is refused and where it says so, the limits, and
 * that look-up finds exactly what is there. */
#include "credentials.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGEST_A "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define DIGEST_B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SECRET   "sluice_this-is-a-token-that-was-pasted-in-the-wrong-place"

static char path[] = "/tmp/sluice-test-credentials-XXXXXX";
static int file = -1;
static struct base_error error;
static struct credentials *credentials;

static void set_up(void)
{
    file = mkstemp(path);
    cr_assert_geq(file, 0);
}

static void tear_down(void)
{
    credentials_destroy(credentials);
    credentials = NULL;
    close(file);
    unlink(path);
}

TestSuite(credentials, .init = set_up, .fini = tear_down);

static int load(const char *yaml, size_t bytes)
{
    void *object = NULL;
    credentials_destroy(credentials);
    error.text[0] = '\0';
    cr_assert_eq(ftruncate(file, 0), 0);
    cr_assert_eq(pwrite(file, yaml, bytes, 0), (ssize_t)bytes);
    int result = credentials_load(path, &object, &error);
    credentials = object;
    cr_assert((result == 0) == (credentials != NULL));
    return result;
}

/* The file has this fault, on this line. */
static void assert_fault(const char *yaml, unsigned line, const char *text)
{
    char where[64];
    snprintf(where, sizeof(where), "%s:%u: ", path, line);
    cr_assert_eq(load(yaml, strlen(yaml)), -EINVAL, "%s was taken", yaml);
    cr_assert_eq(strncmp(error.text, where, strlen(where)), 0, "%s is not on line %u:\n%s",
                 error.text, line, yaml);
    cr_assert_not_null(strstr(error.text, text), "\"%s\" is not in \"%s\"", text, error.text);
    cr_assert_null(strstr(error.text, SECRET), "%s", error.text);
}

static void digest_of(const char *hex, uint8_t digest_out[SHA256_BYTES])
{
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        unsigned byte;
        cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        digest_out[i] = (uint8_t)byte;
    }
}

static const struct credential *find(const char *hex)
{
    uint8_t digest[SHA256_BYTES];
    digest_of(hex, digest);
    return credentials_find(credentials, digest);
}

static bool allows(const struct credentials_ids *set, const char *id)
{
    return credentials_allows(set, id, strlen(id));
}

Test(credentials, an_entry_is_taken_with_everything_it_may_have)
{
    const char *yaml = "credentials:\n"
                       "- name: app-1\n"
                       "  sha256: " DIGEST_A "\n"
                       "  scopes: [ingest, admin]\n"
                       "  studies: [S2, S1]\n"
                       "  centers:\n"
                       "  - 0701\n"
                       "  - \"a b\"\n"
                       "  not_before: 2026-01-01T01:00:00+01:00\n"
                       "  expires: 2026-01-01T00:00:01Z\n"
                       "- {name: reader, scopes: [read], sha256: " DIGEST_B "}\n";
    cr_assert_eq(load(yaml, strlen(yaml)), 0, "%s", error.text);
    cr_assert_eq(credentials->count, 2);
    const struct credential *found = find(DIGEST_A);
    cr_assert_not_null(found);
    cr_assert_eq(found->name.bytes, 5);
    cr_assert_eq(memcmp(found->name.data, "app-1", 5), 0);
    cr_assert_eq(found->scopes, CREDENTIALS_INGEST | CREDENTIALS_ADMIN);
    cr_assert_eq(found->not_before_ns, UINT64_C(1767225600000000000));
    cr_assert_eq(found->expires_ns, UINT64_C(1767225601000000000));
    cr_assert(allows(&found->studies, "S1") && allows(&found->studies, "S2"));
    cr_assert(!allows(&found->studies, "S") && !allows(&found->studies, "S3") &&
              !allows(&found->studies, "S11") && !allows(&found->studies, "s1"));
    cr_assert(allows(&found->centers, "0701") && allows(&found->centers, "a b"));
    cr_assert(!allows(&found->centers, "701") && !allows(&found->centers, "S1"));
    cr_assert(!credentials_allows(&found->centers, NULL, 0), "an absent id is not allowed");

    const struct credential *reader = find(DIGEST_B);
    cr_assert_eq(reader->scopes, CREDENTIALS_READ);
    cr_assert(allows(&reader->studies, "any") && credentials_allows(&reader->centers, NULL, 0));
    cr_assert(credentials_is_valid_at(reader, 0) &&
              credentials_is_valid_at(reader, UINT64_MAX - 1));
    cr_assert_null(find("0000000000000000000000000000000000000000000000000000000000000000"));
}

Test(credentials, times_bound_a_half_open_interval)
{
    struct credential credential = {.not_before_ns = 100, .expires_ns = 200};
    cr_assert(!credentials_is_valid_at(&credential, 99));
    cr_assert(credentials_is_valid_at(&credential, 100));
    cr_assert(credentials_is_valid_at(&credential, 199));
    cr_assert(!credentials_is_valid_at(&credential, 200));
}

#define ENTRY "credentials:\n- name: a\n  sha256: " DIGEST_A "\n  scopes: [ingest]\n"

Test(credentials, faults_are_named_with_their_line)
{
    static const struct {
        const char *yaml;
        unsigned line;
        const char *text;
    } cases[] = {
        {"", 1, "one key, credentials"},
        {"a\n", 1, "one key, credentials"},
        {"\n\nusers: []\n", 3, "one key, credentials"},
        {ENTRY "users: []\n", 5, "one key, credentials"},
        {"credentials:\n", 1, "a list of entries"},
        {"credentials: {}\n", 1, "a list of entries"},
        {"credentials: []\n", 1, "0 entries"},
        {"credentials:\n- a\n", 2, "an entry is a mapping"},
        {ENTRY "---\n" ENTRY, 5, "something follows"},
        {"credentials:\n- name: [\n", 3, "not YAML"},
        {"credentials:\n- name: *nobody\n", 2, "not YAML"},
        {"credentials:\n\t- name: a\n", 2, "not YAML"},
        {ENTRY "  token: " SECRET "\n", 5, "unknown key"},
        {ENTRY "  Studies: [a]\n", 5, "unknown key"},
        {ENTRY "  [a]: b\n", 5, "unknown key"},
        {ENTRY "  name: b\n", 5, "name is given twice"},
        {ENTRY "  scopes: [read]\n", 5, "scopes is given twice"},
        {ENTRY "  studies: []\n", 5, "leave it out"},
        {ENTRY "  studies: S1\n", 5, "a list"},
        {ENTRY "  centers: [1, {}]\n", 5, "a text"},
        {ENTRY "  centers: [1, \"\"]\n", 5, "1 to 128 bytes"},
        {ENTRY "  centers:\n  - 1\n  - \"a\\nb\"\n", 7, "control character"},
        {ENTRY "  centers: [b, a, b]\n", 5, "twice"},
        {ENTRY "  expires: tomorrow\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-29T00:00:00Z\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-28T24:00:00Z\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-28T23:00:00\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-28 23:00:00Z\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-28T23:00:00Zx\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-2-28T23:00:000Z\n", 5, "RFC 3339"},
        {ENTRY "  expires: 2026-02-28T23:00:00+1:00\n", 5, "RFC 3339"},
        {ENTRY "  expires: 1969-12-31T23:59:59Z\n", 5, "RFC 3339"},
        {ENTRY "  expires: \"2026-02-28T23:00:00Z\\0\"\n", 5, "RFC 3339"},
        {ENTRY "  expires:\n", 5, "RFC 3339"},
        {ENTRY "  not_before: 2026-01-01T00:00:00Z\n  expires: 2026-01-01T00:00:00Z\n", 2,
         "expires before"},
        {"credentials:\n- sha256: " DIGEST_A "\n  scopes: [read]\n", 2, "no name"},
        {"credentials:\n- name: a\n  scopes: [read]\n", 2, "no sha256"},
        {"credentials:\n- name: a\n  sha256: " DIGEST_A "\n", 2, "no scopes"},
        {"credentials:\n- name: a\n  sha256: " SECRET "\n", 3, "64 hexadecimal"},
        {"credentials:\n- name: a\n  sha256: 0" DIGEST_A "\n", 3, "64 hexadecimal"},
        {"credentials:\n- name: a\n  sha256: \"x" DIGEST_A "\"\n", 3, "64 hexadecimal"},
        {"credentials:\n- name: a\n  sha256: "
         "g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
         3, "64 hexadecimal"},
        {"credentials:\n- scopes: []\n", 2, "a list of ingest"},
        {"credentials:\n- scopes: ingest\n", 2, "a list of ingest"},
        {"credentials:\n- scopes:\n  - ingest\n  - write\n", 4, "a list of ingest"},
        {"credentials:\n- scopes:\n  - ingest\n  - ingest\n", 4, "each once"},
        {"credentials:\n- name: a b\n", 2, "without spaces"},
        {"credentials:\n- name: \"\\xe4\"\n", 2, "visible ASCII"},
        {"credentials:\n- name: \"\"\n", 2, "1 to 128"},
        {ENTRY "- name: a\n  sha256: " DIGEST_B "\n  scopes: [read]\n", 5,
         "name is that of line 2"},
        {ENTRY "- name: b\n  sha256: " DIGEST_A "\n  scopes: [read]\n", 5,
         "sha256 is that of line 2"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_fault(cases[i].yaml, cases[i].line, cases[i].text);
}

Test(credentials, a_file_that_others_may_read_or_write_is_refused)
{
    static const mode_t refused[] = {0604, 0602, 0606, 0644, 0666, 0777};
    static const mode_t taken[] = {0600, 0640, 0660, 0400, 0601};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        cr_assert_eq(fchmod(file, refused[i]), 0);
        cr_assert_eq(load(ENTRY, strlen(ENTRY)), -EINVAL, "%04o was taken", refused[i]);
        cr_assert_not_null(strstr(error.text, "chmod o-rwx"), "%s", error.text);
    }
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        cr_assert_eq(fchmod(file, taken[i]), 0);
        cr_assert_eq(load(ENTRY, strlen(ENTRY)), 0, "%04o: %s", taken[i], error.text);
    }
}

Test(credentials, what_is_no_file_is_refused)
{
    void *object = NULL;
    char fifo[sizeof(path) + 8];
    cr_assert_lt(credentials_load("/nonexistent/c.yaml", &object, &error), 0);
    cr_assert_not_null(strstr(error.text, "/nonexistent/c.yaml"), "%s", error.text);
    cr_assert_lt(credentials_load("/tmp", &object, &error), 0);
    snprintf(fifo, sizeof(fifo), "%s.fifo", path);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_lt(credentials_load(fifo, &object, &error), 0, "and does not wait for a writer");
    unlink(fifo);
    cr_assert_null(object);
}

/* --- limits --------------------------------------------------------------------------------- */

static char *text;
static size_t text_bytes, text_capacity;

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_bytes +=
        (size_t)vsnprintf(text + text_bytes, text_capacity - text_bytes, format, arguments);
    va_end(arguments);
    cr_assert_lt(text_bytes, text_capacity);
}

static void begin(void)
{
    text_capacity = CREDENTIALS_FILE_BYTES_MAX + 4096;
    text = text != NULL ? text : malloc(text_capacity);
    text_bytes = 0;
}

static int load_entries(unsigned count)
{
    begin();
    add("credentials:\n");
    for (unsigned i = 0; i < count; i++)
        add("- {name: n%u, scopes: [ingest], sha256: %08x%056x}\n", i, i * 2654435761u, i);
    return load(text, text_bytes);
}

Test(credentials, the_largest_count_is_taken_and_each_is_found)
{
    cr_assert_eq(load_entries(CREDENTIALS_COUNT_MAX), 0, "%s", error.text);
    cr_assert_eq(credentials->count, CREDENTIALS_COUNT_MAX);
    for (unsigned i = 0; i < CREDENTIALS_COUNT_MAX; i++) {
        char hex[65], name[16];
        snprintf(hex, sizeof(hex), "%08x%056x", i * 2654435761u, i);
        const struct credential *found = find(hex);
        cr_assert_not_null(found);
        snprintf(name, sizeof(name), "n%u", i);
        cr_assert_eq(found->name.bytes, strlen(name));
        cr_assert_eq(memcmp(found->name.data, name, strlen(name)), 0);
        for (unsigned bit = 0; bit < 8 * SHA256_BYTES; bit += 37) { /* and nothing near it */
            uint8_t digest[SHA256_BYTES];
            digest_of(hex, digest);
            digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_null(credentials_find(credentials, digest));
        }
    }
    cr_assert_eq(load_entries(CREDENTIALS_COUNT_MAX + 1), -EINVAL);
    cr_assert_not_null(strstr(error.text, "4097"), "%s", error.text);
    cr_assert_eq(load_entries(1), 0, "%s", error.text);
}

static int load_name(unsigned bytes)
{
    begin();
    add("credentials:\n- {name: %0*u, scopes: [ingest], sha256: " DIGEST_A "}\n", (int)bytes, 7);
    return load(text, text_bytes);
}

static int load_ids(const char *key, unsigned count, unsigned bytes)
{
    begin();
    add(ENTRY "  %s: [", key);
    for (unsigned i = 0; i < count; i++)
        add("%s%0*u", i > 0 ? ", " : "", (int)bytes, i);
    add("]\n");
    return load(text, text_bytes);
}

Test(credentials, names_and_ids_are_taken_up_to_their_limits)
{
    cr_assert_eq(load_name(CREDENTIALS_NAME_BYTES_MAX), 0, "%s", error.text);
    cr_assert_eq(load_name(CREDENTIALS_NAME_BYTES_MAX + 1), -EINVAL);
    cr_assert_eq(load_ids("studies", CREDENTIALS_STUDIES_MAX, CREDENTIALS_ID_BYTES_MAX), 0, "%s",
                 error.text);
    cr_assert_eq(load_ids("studies", CREDENTIALS_STUDIES_MAX + 1, 5), -EINVAL);
    cr_assert_not_null(strstr(error.text, "the limit is 64"), "%s", error.text);
    cr_assert_eq(load_ids("centers", CREDENTIALS_CENTERS_MAX, CREDENTIALS_ID_BYTES_MAX), 0, "%s",
                 error.text);
    cr_assert_eq(load_ids("centers", CREDENTIALS_CENTERS_MAX + 1, 5), -EINVAL);
    cr_assert_not_null(strstr(error.text, "the limit is 1024"), "%s", error.text);
    cr_assert_eq(load_ids("centers", 1, CREDENTIALS_ID_BYTES_MAX + 1), -EINVAL);
}

Test(credentials, a_file_is_taken_up_to_its_limit)
{
    begin();
    add(ENTRY "#");
    memset(text + text_bytes, 'x', CREDENTIALS_FILE_BYTES_MAX + 1 - text_bytes);
    cr_assert_eq(load(text, CREDENTIALS_FILE_BYTES_MAX), 0, "%s", error.text);
    cr_assert_eq(load(text, CREDENTIALS_FILE_BYTES_MAX + 1), -EINVAL);
    cr_assert_not_null(strstr(error.text, "limit"), "%s", error.text);
}
