#include "record/decimal.h"

/* Beyond it an exponent only says "too large" or "too small", however many digits there are: a
 * body has less than 2^30 of them. */
#define EXPONENT_MAX (INT64_C(1) << 40)

/* The characters of a number, in the order of the grammar. */
struct parts {
    const char *at, *end;
    bool negative;
    const char *whole, *whole_end;
    const char *fraction, *fraction_end;
    int64_t exponent;
};

static bool is_digit(const struct parts *parts)
{
    return parts->at < parts->end && *parts->at >= '0' && *parts->at <= '9';
}

static bool take(struct parts *parts, char first, char second)
{
    if (parts->at == parts->end || (*parts->at != first && *parts->at != second))
        return false;
    parts->at++;
    return true;
}

/* At least one digit. */
static bool take_digits(struct parts *parts, const char **start_out, const char **end_out)
{
    *start_out = parts->at;
    while (is_digit(parts))
        parts->at++;
    *end_out = parts->at;
    return *start_out < *end_out;
}

static bool take_exponent(struct parts *parts)
{
    bool negative = take(parts, '-', '-');
    if (!negative)
        take(parts, '+', '+');
    if (!is_digit(parts))
        return false;
    for (; is_digit(parts); parts->at++)
        if (parts->exponent < EXPONENT_MAX)
            parts->exponent = parts->exponent * 10 + (*parts->at - '0');
    if (negative)
        parts->exponent = -parts->exponent;
    return true;
}

static bool split(struct parts *parts)
{
    parts->negative = take(parts, '-', '-');
    if (!take_digits(parts, &parts->whole, &parts->whole_end) ||
        (*parts->whole == '0' && parts->whole_end - parts->whole > 1))
        return false;
    parts->fraction = parts->fraction_end = parts->at;
    if (take(parts, '.', '.') && !take_digits(parts, &parts->fraction, &parts->fraction_end))
        return false;
    if (take(parts, 'e', 'E') && !take_exponent(parts))
        return false;
    return parts->at == parts->end;
}

/* Digits one by one, each with the power of ten that it stands for. */
struct sum {
    int64_t millionths;
    int64_t power; /* of the next digit */
    bool rest, beyond;
};

static void add_digits(struct sum *sum, const char *at, const char *end)
{
    for (; at < end; at++, sum->power--) {
        if (sum->power < -RECORD_DECIMAL_FRACTION_DIGITS) {
            sum->rest = sum->rest || *at != '0';
            continue;
        }
        if (sum->millionths > RECORD_DECIMAL_MILLIONTHS_MAX / 10)
            sum->beyond = true;
        if (sum->beyond)
            continue;
        sum->millionths = sum->millionths * 10 + (*at - '0');
        sum->beyond = sum->millionths > RECORD_DECIMAL_MILLIONTHS_MAX;
    }
}

/* Almost every answer: a few digits and nothing else. */
static bool parse_short(const char *text, size_t bytes, struct record_decimal *decimal_out)
{
    int64_t value = 0;
    if (bytes == 0 || bytes > 6 || (text[0] == '0' && bytes > 1))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *decimal_out = (struct record_decimal){.millionths = value * RECORD_DECIMAL_UNIT};
    return true;
}

bool record_decimal_parse(const char *text, size_t bytes, struct record_decimal *decimal_out)
{
    if (parse_short(text, bytes, decimal_out))
        return true;
    struct parts parts = {.at = text, .end = text + bytes};
    if (!split(&parts))
        return false;
    struct sum sum = {.power = parts.whole_end - parts.whole - 1 + parts.exponent};
    add_digits(&sum, parts.whole, parts.whole_end);
    add_digits(&sum, parts.fraction, parts.fraction_end);
    /* 1e3 has no digits for the places behind its last one */
    while (sum.power >= -RECORD_DECIMAL_FRACTION_DIGITS && sum.millionths > 0 && !sum.beyond)
        add_digits(&sum, "0", &"0"[1]);
    *decimal_out = (struct record_decimal){sum.millionths, parts.negative, sum.rest};
    if (sum.beyond)
        *decimal_out = (struct record_decimal){RECORD_DECIMAL_MILLIONTHS_MAX, parts.negative, true};
    return true;
}

int record_decimal_compare(const struct record_decimal *decimal, int64_t limit_millionths)
{
    int64_t value = decimal->negative ? -decimal->millionths : decimal->millionths;
    if (value != limit_millionths)
        return value < limit_millionths ? -1 : 1;
    return !decimal->rest ? 0 : decimal->negative ? -1 : 1;
}

bool record_decimal_is_whole(const struct record_decimal *decimal)
{
    return !decimal->rest && decimal->millionths % RECORD_DECIMAL_UNIT == 0;
}
