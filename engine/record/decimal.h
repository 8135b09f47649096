/* Decimal numbers, compared exactly: a JSON number of any size against a limit from a registry.
 *
 * Plain values; any thread; no allocation. A double would call 0.1 + 0.2 and 0.30000000000000004
 * different things than the person who wrote the limit; here 3, 3.0 and 30e-1 are the same number
 * and nothing else is.
 */
#ifndef SLUICE_RECORD_DECIMAL_H
#define SLUICE_RECORD_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_DECIMAL_FRACTION_DIGITS 6
#define RECORD_DECIMAL_UNIT            INT64_C(1000000) /* 10 to the power of that */

/* A number cut to six fractional digits, and whether more was cut off. Beyond 9e12 in either
 * direction it is 9e12 with `rest` set, which is beyond every limit. */
struct record_decimal {
    int64_t millionths;
    bool negative;
    bool rest; /* the number is a little further from zero */
};

#define RECORD_DECIMAL_MILLIONTHS_MAX (INT64_C(9000000000000) * RECORD_DECIMAL_UNIT)

/* `text` keeps to JSON's grammar of numbers (RFC 8259, section 6). False when it does not. */
bool record_decimal_parse(const char *text, size_t bytes, struct record_decimal *decimal_out);

/* Below zero, zero or above, as the number is below, at or above `limit_millionths`. */
int record_decimal_compare(const struct record_decimal *decimal, int64_t limit_millionths);

/* No fraction: 3, 3.0 and 30e-1 have none. Says nothing of numbers beyond 9e12. */
bool record_decimal_is_whole(const struct record_decimal *decimal);

#endif
