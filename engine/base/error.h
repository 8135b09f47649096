/* An error with a sentence: what failed, where, and what to do.
 *
 * Owner: the caller, usually on its stack. Any thread, one at a time. Functions that can fail at
 * start-up, in recovery or in a reader take `struct base_error *` last and return 0 or a negative
 * errno; the text is set exactly when the return value is negative.
 */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

#define BASE_ERROR_TEXT_BYTES 768 /* room for a path of usual length and two sentences */

struct base_error {
    int code; /* negative errno, the return value */
    char text[BASE_ERROR_TEXT_BYTES];
};

/* Sets the text and returns `code` (negative), so that a caller can `return base_error_set(...)`.
 */
int base_error_set(struct base_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of -code behind it. */
int base_error_os(struct base_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
