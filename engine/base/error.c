#include "base/error.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int base_error_set(struct base_error *error, int code, const char *format, ...)
{
    CHECK(code < 0);
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return code;
}

int base_error_os(struct base_error *error, int code, const char *format, ...)
{
    CHECK(code < 0);
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    if (written >= 0 && (size_t)written < sizeof(error->text))
        snprintf(error->text + written, sizeof(error->text) - (size_t)written, ": %s",
                 strerror(-code));
    return code;
}
