/* What `sluice bench` makes of responses that come in any pieces. */
#include "load/answer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char receipt[] =
    "{\"submissionId\":\"x\",\"journal\":3,\"sequence\":18446,\"receivedAt\":"
    "\"2026-03-01T19:05:00Z\",\"sha256\":\"" DIGEST "\"}\n";

static char text[2048];
static struct load_answer answer;

static size_t make(const char *status, const char *headers, const char *content)
{
    return (size_t)snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%s\r\n%s", status, headers,
                            content);
}

static size_t make_receipt(void)
{
    char headers[128];
    snprintf(headers, sizeof(headers), "Content-Type: application/json\r\ncontent-length: %zu\r\n",
             strlen(receipt));
    return make("201 Created", headers, receipt);
}

Test(load_answer, takes_a_receipt_apart)
{
    size_t bytes = make_receipt();
    cr_assert_eq(load_answer_parse(text, bytes, &answer), (long)bytes);
    cr_assert_eq(answer.status, 201);
    cr_assert(answer.has_receipt && !answer.ends);
    cr_assert_eq(answer.receipt.journal, 3);
    cr_assert_eq(answer.receipt.sequence, 18446);
    cr_assert_eq(answer.receipt.sha256[1], 0x11);
    cr_assert_eq(answer.receipt.sha256[31], 0xff);
}

Test(load_answer, wants_more_until_the_last_byte)
{
    size_t bytes = make_receipt();
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(load_answer_parse(text, i, &answer), 0, "%zu of %zu bytes", i, bytes);
}

Test(load_answer, stops_behind_the_first_of_two)
{
    size_t bytes = make_receipt();
    memcpy(text + bytes, text, bytes);
    cr_assert_eq(load_answer_parse(text, 2 * bytes, &answer), (long)bytes);
}

Test(load_answer, sees_the_end_of_the_connection)
{
    size_t bytes = make("503 Service Unavailable",
                        "Retry-After: 2\r\nConnection: close\r\nContent-Length: 2\r\n", "{}");
    cr_assert_eq(load_answer_parse(text, bytes, &answer), (long)bytes);
    cr_assert_eq(answer.status, 503);
    cr_assert(answer.ends && !answer.has_receipt);
}

Test(load_answer, a_body_that_only_looks_like_a_receipt_is_none)
{
    static const char *const contents[] = {
        "{\"journal\":3,\"sequence\":1,\"sha256\":\"short\"}",
        "{\"journal\":,\"sequence\":1,\"sha256\":\"" DIGEST "\"}",
        "{\"journal\":1,\"sha256\":\"" DIGEST "\"}",
        "{}",
    };
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        char headers[64];
        snprintf(headers, sizeof(headers), "Content-Length: %zu\r\n", strlen(contents[i]));
        size_t bytes = make("201 Created", headers, contents[i]);
        cr_assert_eq(load_answer_parse(text, bytes, &answer), (long)bytes);
        cr_assert(!answer.has_receipt, "%s", contents[i]);
    }
}

Test(load_answer, refuses_what_it_does_not_understand)
{
    size_t bytes = make("200 OK", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n");
    cr_assert_eq(load_answer_parse(text, bytes, &answer), -1);
    bytes = make("200 OK", "Content-Length: x\r\n", "");
    cr_assert_eq(load_answer_parse(text, bytes, &answer), -1);
    bytes = make("abc", "Content-Length: 0\r\n", "");
    cr_assert_eq(load_answer_parse(text, bytes, &answer), -1);
    cr_assert_eq(load_answer_parse("GET / HTTP/1.1\r\n\r\n", 18, &answer), -1);
}
