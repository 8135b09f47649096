#include "sluice/version.h"
#include "command/command.h"

#include <stdio.h>

int command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("sluice %s, segment format %d.%d\n", SLUICE_VERSION, SLUICE_FORMAT_MAJOR,
           SLUICE_FORMAT_MINOR);
    return COMMAND_EXIT_DONE;
}
