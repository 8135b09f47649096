/* `sluice tail`: records as they become durable.
 *
 * The watermark is a word in a shared mapping, and a store to it is no event that another process
 * could wait for, so tail looks again every POLL_MS. Rejected: a futex in the mapping; the worker
 * would pay a system call per flush for readers that may not be there. */
#include "command/command.h"
#include "command/print.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNALS_MAX 1024
#define POLL_MS      20

struct tail {
    const char *directory;
    bool raw;
    bool one_journal;
    uint64_t journal;
    uint64_t from;
    struct sluice_reader *readers[JOURNALS_MAX]; /* by journal number; NULL: not there yet */
    struct print_output output;
};

static bool parse_options(int argc, char **argv, struct tail *tail)
{
    static const struct option options[] = {
        {"raw", no_argument, NULL, 'r'},
        {"journal", required_argument, NULL, 'j'},
        {"from", required_argument, NULL, 'f'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool fine = option != '?';
        if (option == 'r')
            tail->raw = true;
        if (option == 'j')
            fine = tail->one_journal = print_parse_number(optarg, JOURNALS_MAX - 1, &tail->journal);
        if (option == 'f')
            fine = print_parse_number(optarg, UINT64_MAX - 1, &tail->from);
        if (!fine) {
            fprintf(stderr, "sluice: tail: wrong option or number\n");
            return false;
        }
    }
    if (optind + 1 == argc) {
        tail->directory = argv[optind];
        return true;
    }
    fprintf(stderr, "sluice: tail takes one data directory\n");
    return false;
}

/* Opens readers for journals that have appeared; those read from their start. */
static int open_readers(struct tail *tail, uint64_t from)
{
    char error_text[1024];
    uint32_t journals[JOURNALS_MAX];
    int count = sluice_reader_journals(tail->directory, journals, JOURNALS_MAX, error_text,
                                       sizeof(error_text));
    for (int i = 0; i < count; i++) {
        uint32_t journal = journals[i];
        if (journal >= JOURNALS_MAX || tail->readers[journal] != NULL ||
            (tail->one_journal && journal != tail->journal))
            continue;
        if (sluice_reader_open(tail->directory, journal, from, &tail->readers[journal], error_text,
                               sizeof(error_text)) < 0)
            count = -1;
    }
    if (count >= 0)
        return COMMAND_EXIT_DONE;
    fprintf(stderr, "sluice: %s\n", error_text);
    return COMMAND_EXIT_FAILED;
}

static int print_new(struct tail *tail, struct sluice_reader *reader, bool *any_out)
{
    struct sluice_record record;
    int result;
    while ((result = sluice_reader_next(reader, &record)) == 1) {
        *any_out = true;
        if (!print_record(&tail->output, &record, tail->raw))
            return COMMAND_EXIT_FAILED;
    }
    if (result == 0)
        return COMMAND_EXIT_DONE;
    fprintf(stderr, "sluice: %s\n", sluice_reader_error(reader));
    return result == -EBADMSG ? COMMAND_EXIT_NO : COMMAND_EXIT_FAILED;
}

static int follow(struct tail *tail)
{
    int exit_code = open_readers(tail, tail->from);
    while (exit_code == COMMAND_EXIT_DONE) {
        bool any = false;
        for (size_t i = 0; i < JOURNALS_MAX && exit_code == COMMAND_EXIT_DONE; i++)
            if (tail->readers[i] != NULL)
                exit_code = print_new(tail, tail->readers[i], &any);
        if (fflush(stdout) != 0) {
            fprintf(stderr, "sluice: cannot write to standard output: %s\n", strerror(errno));
            return COMMAND_EXIT_FAILED;
        }
        if (!any && exit_code == COMMAND_EXIT_DONE) {
            poll(NULL, 0, POLL_MS);
            exit_code = open_readers(tail, 1);
        }
    }
    return exit_code;
}

int command_tail(int argc, char **argv)
{
    static struct tail tail; /* 8 KiB of readers */
    tail.from = SLUICE_FROM_NOW;
    if (!parse_options(argc, argv, &tail))
        return EX_USAGE;
    int exit_code = follow(&tail);
    for (size_t i = 0; i < JOURNALS_MAX; i++)
        sluice_reader_close(tail.readers[i]);
    print_output_fini(&tail.output);
    return exit_code;
}
