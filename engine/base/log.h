/* Messages for the operator: one logfmt line each on stderr, never on stdout.
 *
 * Any thread; a line is formatted on the caller's stack and written with one write(2), so lines of
 * different threads never mix. The data plane logs state changes only, never per request, and no
 * message holds a payload, a patient id or a credential.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

enum base_log_level { BASE_LOG_INFO, BASE_LOG_WARNING, BASE_LOG_ERROR };

/* `event` is a stable word for machines; the format gives logfmt pairs or `message="..."`. */
void base_log(enum base_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
