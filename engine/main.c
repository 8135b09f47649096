/* The subcommands of `sluice` and what each is for. */
#include "command/command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
};

static const struct subcommand subcommands[] = {
    {"serve", command_serve,
     "serve --data DIR --listen ADDR:PORT [--admin ADDR:PORT] [--cores LIST] [--config FILE] "
     "[--registry PATH] [--credentials FILE] [--set KEY=VALUE]...\n"
     "      take submissions until SIGTERM"},
    {"cat", command_cat,
     "cat DIR [--raw] [--journal N] [--from SEQ] [--limit N]\n"
     "      print the records of a data directory, also while the engine runs"},
    {"tail", command_tail,
     "tail DIR [--raw] [--journal N] [--from SEQ]\n"
     "      print records as they become durable, from now on or from SEQ, until interrupted"},
    {"verify", command_verify,
     "verify DIR\n      check every checksum and the hash chain; exit 1 on damage"},
    {"repair", command_repair,
     "repair [--apply] DIR\n"
     "      say how a damaged end of a journal can be replaced, and with --apply do it"},
    {"bench", command_bench,
     "bench TARGET [--arrivals closed|constant|poisson|burst] [--rate N] [--patients N] "
     "[--compress X]\n"
     "              [--seconds N] [--connections N] [--pipeline N] [--threads N] [--body-bytes N | "
     "--bodies FILE]\n"
     "              [--data DIR] [--server-pid PID] [--json FILE] [--svg FILE] [--seed N] "
     "[--drain-seconds N] [--receipts N]\n"
     "      load an engine, say how it took it; with --data look every receipt up on disk"},
    {"token", command_token,
     "token --name NAME [--scope SCOPE]... [--study ID]... [--center ID]... [--expires TIME]\n"
     "      make a bearer token: the token on stdout, its entry for the file of credentials on "
     "stderr"},
    {"config", command_config,
     "config [--config FILE] [--set KEY=VALUE]...\n"
     "      print every limit with its value, range and reason"},
    {"registry", command_registry,
     "registry check PATH\n      load a study registry as `serve` would, and say what is in it"},
    {"version", command_version, "version\n      print the version"},
};

#define SUBCOMMAND_COUNT (sizeof(subcommands) / sizeof(subcommands[0]))

static void print_usage(FILE *out)
{
    fprintf(out, "usage: sluice COMMAND ...\n\n");
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
        fprintf(out, "  sluice %s\n", subcommands[i].usage);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return COMMAND_EXIT_DONE;
    }
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
        if (strcmp(argv[1], subcommands[i].name) != 0)
            continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("usage: sluice %s\n", subcommands[i].usage);
            return COMMAND_EXIT_DONE;
        }
        return subcommands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "sluice: no command \"%s\"\n\n", argv[1]);
    print_usage(stderr);
    return EX_USAGE;
}
