#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

void base_log(enum base_log_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"info", "warning", "error"};
    char line[LINE_BYTES_MAX];
    char time[BASE_CLOCK_TEXT_BYTES];
    base_clock_format(base_clock_realtime_ns(), time);
    int head =
        snprintf(line, sizeof(line), "time=%s level=%s event=%s ", time, names[level], event);
    va_list arguments;
    va_start(arguments, format);
    int tail = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, arguments);
    va_end(arguments);
    size_t bytes = (size_t)head + (tail > 0 ? (size_t)tail : 0);
    if (bytes > sizeof(line) - 1)
        bytes = sizeof(line) - 1;
    line[bytes++] = '\n';
    /* stderr gone is no reason to stop taking submissions */
    ssize_t written = write(STDERR_FILENO, line, bytes);
    (void)written;
}
