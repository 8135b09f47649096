#include "config.h"
#include "command/command.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

/* In single quotes, which YAML takes literally but for themselves; a text that is none is left out.
 */
static void print_text(const struct config_text_key *key, const char *text)
{
    printf("# %s\n%s%s: '", key->reason, *text == '\0' ? "# " : "", key->name);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            putchar('\'');
        putchar(*text);
    }
    puts("'\n");
}

int command_config(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, 's'}, {0}};
    struct config config;
    struct base_error error = {.code = 0};
    config_init(&config);
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int result = option == 'c'   ? config_load(&config, optarg, &error)
                     : option == 's' ? config_set(&config, optarg, &error)
                                     : -1;
        if (option == '?')
            return EX_USAGE;
        if (result < 0) {
            fprintf(stderr, "sluice: %s\n", error.text);
            return EX_CONFIG;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "sluice: config takes no argument \"%s\"\n", argv[optind]);
        return EX_USAGE;
    }
    if (config_check(&config, &error) < 0) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return EX_CONFIG;
    }
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++)
        printf("# %s\n# default %" PRIu64 ", from %" PRIu64 " to %" PRIu64 "\n%s: %" PRIu64 "\n\n",
               keys[i].reason, keys[i].standard, keys[i].minimum, keys[i].maximum, keys[i].name,
               config_get(&config, &keys[i]));
    const struct config_text_key *texts = config_text_keys(&count);
    for (size_t i = 0; i < count; i++)
        print_text(&texts[i], config_get_text(&config, &texts[i]));
    return COMMAND_EXIT_DONE;
}
