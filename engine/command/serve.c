/* `sluice serve`: options, and which failure is which exit code. */
#include "command/command.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static int usage(const char *what)
{
    fprintf(stderr, "sluice: %s; see `sluice serve --help`\n", what);
    return EX_USAGE;
}

static void announce(const struct server_options *options)
{
    char address[INGRESS_ADDRESS_TEXT_BYTES];
    ingress_address_format(&options->listen, address);
    printf("sluice: ready on %s://%s\n",
           options->config.tls_certificate[0] != '\0' ? "https" : "http", address);
    fflush(stdout);
}

static int set_registry(struct config *config, const char *path, struct base_error *error)
{
    if (strlen(path) >= sizeof(config->registry))
        return base_error_set(error, -ERANGE, "--registry: a path has at most %zu bytes",
                              sizeof(config->registry) - 1);
    memcpy(config->registry, path, strlen(path) + 1);
    return 0;
}

static int take_option(struct server_options *options, int option, bool *has_listen,
                       struct base_error *error)
{
    switch (option) {
    case 'd':
        options->data = optarg;
        return 0;
    case 'l':
        *has_listen = true;
        return ingress_address_parse(&options->listen, optarg, error);
    case 'a':
        options->has_admin = true;
        return ingress_address_parse(&options->admin, optarg, error);
    case 'o':
        options->cores = optarg;
        return 0;
    case 'k':
        return config_set_text(&options->config, "credentials", optarg, error);
    case 'c':
        return config_load(&options->config, optarg, error);
    case 'r':
        return set_registry(&options->config, optarg, error);
    default:
        return config_set(&options->config, optarg, error);
    }
}

/* Whoever can reach the engine without a token must be on this machine already. */
static int check_reach(const struct ingress_address *address, const char *option,
                       struct base_error *error)
{
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    if (ingress_address_is_loopback(address))
        return 0;
    ingress_address_format(address, text);
    return base_error_set(error, -EINVAL,
                          "%s %s can be reached from other machines, and no credentials are "
                          "configured: give --credentials FILE (`sluice token` makes one), or "
                          "listen on 127.0.0.1 or [::1]",
                          option, text);
}

static int check_options(const struct server_options *options, struct base_error *error)
{
    int result = config_check(&options->config, error);
    if (result < 0 || options->config.credentials[0] != '\0')
        return result;
    result = check_reach(&options->listen, "--listen", error);
    if (result == 0 && options->has_admin)
        result = check_reach(&options->admin, "--admin", error);
    return result;
}

static int exit_code_of(int result)
{
    switch (result) {
    case 0:
        return COMMAND_EXIT_DONE;
    case -EIO:
        return EX_IOERR;
    case -EBADMSG:
    case -EPROTO:
        return EX_DATAERR;
    case -EWOULDBLOCK:
    case -EADDRINUSE:
        return EX_TEMPFAIL;
    case -EINVAL:
    case -ERANGE:
        return EX_CONFIG;
    default:
        return EX_OSERR;
    }
}

int command_serve(int argc, char **argv)
{
    static const struct option known[] = {
        {"data", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"admin", required_argument, NULL, 'a'},
        {"cores", required_argument, NULL, 'o'},
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"credentials", required_argument, NULL, 'k'},
        {"registry", required_argument, NULL, 'r'},
        {0},
    };
    struct server_options options = {.data = NULL};
    struct base_error error = {.code = 0};
    bool has_listen = false;
    int option;
    config_init(&options.config);
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == '?')
            return EX_USAGE;
        if (take_option(&options, option, &has_listen, &error) < 0) {
            fprintf(stderr, "sluice: %s\n", error.text);
            return EX_CONFIG;
        }
    }
    if (optind != argc)
        return usage("serve takes options only");
    if (options.data == NULL)
        return usage("serve needs --data DIR");
    if (!has_listen)
        return usage("serve needs --listen ADDR:PORT");
    if (check_options(&options, &error) < 0) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return EX_CONFIG;
    }
    int result = server_run(&options, announce, &error);
    if (result < 0)
        fprintf(stderr, "sluice: %s\n", error.text);
    return exit_code_of(result);
}
