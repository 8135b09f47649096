/* `sluice cat`: a JSON object a line, through the public reader. */
#include "command/command.h"
#include "command/print.h"
#include "sluice/reader.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNALS_MAX 1024

struct selection {
    bool raw;
    bool one_journal;
    uint32_t journal;
    uint64_t from;
    uint64_t left; /* records still to print */
};

static int print_journal(const char *directory, uint32_t journal, struct selection *selection,
                         struct print_output *output)
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
            !print_parse_number(optarg, option == 'j' ? UINT32_MAX : UINT64_MAX, &number)) {
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
    struct print_output output = {NULL, 0};
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
    print_output_fini(&output);
    if (fflush(stdout) != 0 && exit_code == COMMAND_EXIT_DONE) {
        fprintf(stderr, "sluice: cannot write to standard output: %s\n", strerror(errno));
        exit_code = COMMAND_EXIT_FAILED;
    }
    return exit_code;
}
