/* The subcommands. Each takes what is behind its name and returns the exit code:
 * 0 done, 1 the answer is no (damage found), 2 it could not be done, 64 (EX_USAGE) wrong usage,
 * 78 (EX_CONFIG) wrong configuration; `serve` also 74 (EX_IOERR) after a journal failed; `serve`
 * and `repair` 75 (EX_TEMPFAIL) when the data directory is in use, `serve` when the port is. Data
 * goes to stdout, messages to stderr.
 */
#ifndef SLUICE_COMMAND_H
#define SLUICE_COMMAND_H

#include <stdbool.h>
#include <sysexits.h>

#define COMMAND_EXIT_DONE   0
#define COMMAND_EXIT_NO     1
#define COMMAND_EXIT_FAILED 2

int command_serve(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_cat(int argc, char **argv);
int command_tail(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_repair(int argc, char **argv);
int command_token(int argc, char **argv);
int command_config(int argc, char **argv);
int command_registry(int argc, char **argv);
int command_version(int argc, char **argv);

/* Whether `sluice repair` would mend something in the directory; reads only. */
bool command_repair_helps(const char *directory);

#endif
