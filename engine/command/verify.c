/* `sluice verify`: what is wrong, where, and nothing else on stdout. */
#include "segment/verify.h"
#include "command/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void print_damage(void *context, const char *path, uint64_t offset, const char *what)
{
    (void)context;
    printf("%s: offset %" PRIu64 ": %s\n", path, offset, what);
}

int command_verify(int argc, char **argv)
{
    struct segment_verify_report report;
    struct base_error error = {.code = 0};
    if (argc != 2) {
        fprintf(stderr, "usage: sluice verify DIR\n");
        return EX_USAGE;
    }
    int result = segment_verify(argv[1], print_damage, NULL, &report, &error);
    if (result < 0) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return result == -EBADMSG ? COMMAND_EXIT_NO : COMMAND_EXIT_FAILED;
    }
    fflush(stdout);
    fprintf(stderr,
            "sluice: %s: %" PRIu64 " journals, %" PRIu64 " segments, %" PRIu64 " batches, %" PRIu64
            " records, %" PRIu64 " bytes read: %s\n",
            argv[1], report.journals, report.segments, report.batches, report.records, report.bytes,
            report.damages == 0 ? "all of it valid" : "DAMAGED, see above");
    if (report.damages > 0 && command_repair_helps(argv[1]))
        fprintf(stderr,
                "sluice: `sluice repair %s` shows what can be kept when no replica or backup has "
                "the file\n",
                argv[1]);
    if (report.torn_bytes > 0)
        fprintf(stderr,
                "sluice: %" PRIu64 " bytes behind the last batches are unfinished writes; nothing "
                "there was acknowledged\n",
                report.torn_bytes);
    return report.damages == 0 ? COMMAND_EXIT_DONE : COMMAND_EXIT_NO;
}
