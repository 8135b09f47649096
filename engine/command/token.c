/* `sluice token`: 256 random bits for a client, and their SHA-256 for the file of credentials. The
 * token is on stdout, alone, and nowhere else; what is on stderr is YAML, so that both can be
 * redirected. The options are not checked as the file is: the engine does that when it loads it. */
#include "base/checksum.h"
#include "command/command.h"
#include "credentials.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define TOKEN_BITS     256
#define TOKEN_PREFIX   "sluice_" /* for scanners that look for leaked secrets */
#define PREFIX_BYTES   (sizeof(TOKEN_PREFIX) - 1)
#define TOKEN_BYTES    (PREFIX_BYTES + (TOKEN_BITS + 5) / 6)
#define LIST_COUNT_MAX 64 /* of each option that may come again; more can be edited in */

struct list {
    const char *items[LIST_COUNT_MAX];
    size_t count;
};

struct entry {
    const char *name, *expires;
    struct list scopes, studies, centers;
};

/* RFC 4648, section 5, without padding: six bits a character, the last one filled up with zeros. */
static bool make_token(char token_out[TOKEN_BYTES])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bits[TOKEN_BITS / 8 + 1];
    if (getrandom(bits, sizeof(bits), 0) != sizeof(bits))
        return false;
    bits[TOKEN_BITS / 8] = 0;
    memcpy(token_out, TOKEN_PREFIX, PREFIX_BYTES);
    for (size_t i = 0; i < TOKEN_BYTES - PREFIX_BYTES; i++) {
        size_t at = 6 * i / 8;
        unsigned pair = (unsigned)bits[at] << 8 | bits[at + 1];
        token_out[PREFIX_BYTES + i] = alphabet[pair >> (10 - 6 * i % 8) & 63];
    }
    explicit_bzero(bits, sizeof(bits));
    return true;
}

/* In double quotes, whose escapes are those of JSON. */
static void print_quoted(const char *text)
{
    fputc('"', stderr);
    for (; *text != '\0'; text++)
        fprintf(stderr, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', stderr);
}

static void print_list(const char *key, const struct list *list)
{
    if (list->count == 0)
        return;
    fprintf(stderr, "    %s: [", key);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i > 0 ? ", " : "", stderr);
        print_quoted(list->items[i]);
    }
    fputs("]\n", stderr);
}

static void print_entry(const struct entry *entry, const char *token)
{
    uint8_t digest[SHA256_BYTES];
    base_sha256_of(token, TOKEN_BYTES, digest);
    fputs("# The line on stdout is the token: give it to the client, it is shown only here.\n"
          "# What follows is for the list `credentials:` in the file of credentials; then SIGHUP.\n"
          "  - name: ",
          stderr);
    print_quoted(entry->name);
    fputs("\n    sha256: ", stderr);
    for (size_t i = 0; i < sizeof(digest); i++)
        fprintf(stderr, "%02x", digest[i]);
    fputc('\n', stderr);
    print_list("scopes", &entry->scopes);
    print_list("studies", &entry->studies);
    print_list("centers", &entry->centers);
    if (entry->expires != NULL)
        fprintf(stderr, "    expires: %s\n", entry->expires);
}

static bool parse_options(int argc, char **argv, struct entry *entry)
{
    static const struct option known[] = {
        {"name", required_argument, NULL, 'n'},    {"scope", required_argument, NULL, 's'},
        {"study", required_argument, NULL, 't'},   {"center", required_argument, NULL, 'c'},
        {"expires", required_argument, NULL, 'e'}, {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        struct list *list = option == 's'   ? &entry->scopes
                            : option == 't' ? &entry->studies
                            : option == 'c' ? &entry->centers
                                            : NULL;
        if (option == '?')
            return false;
        if (option == 'n')
            entry->name = optarg;
        if (option == 'e')
            entry->expires = optarg;
        if (list != NULL && list->count == LIST_COUNT_MAX) {
            fprintf(stderr, "sluice: more than %d of one option\n", LIST_COUNT_MAX);
            return false;
        }
        if (list != NULL)
            list->items[list->count++] = optarg;
    }
    if (entry->name != NULL && optind == argc)
        return true;
    fprintf(stderr, "sluice: token needs --name NAME; see `sluice token --help`\n");
    return false;
}

int command_token(int argc, char **argv)
{
    struct entry entry = {.name = NULL};
    char token[TOKEN_BYTES];
    if (!parse_options(argc, argv, &entry))
        return EX_USAGE;
    if (entry.scopes.count == 0)
        entry.scopes = (struct list){.items = {"ingest"}, .count = 1};
    if (!make_token(token)) {
        fprintf(stderr, "sluice: the kernel gives no random numbers\n");
        return COMMAND_EXIT_FAILED;
    }
    print_entry(&entry, token);
    bool written = fwrite(token, 1, sizeof(token), stdout) == sizeof(token) &&
                   putchar('\n') != EOF && fflush(stdout) == 0;
    explicit_bzero(token, sizeof(token));
    if (written)
        return COMMAND_EXIT_DONE;
    fprintf(stderr, "sluice: cannot write to standard output\n");
    return COMMAND_EXIT_FAILED;
}
