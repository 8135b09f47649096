/* The memory budget: what is reserved is zeroed, listed, summed up and given back. */
#include "budget.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct budget budget;
static struct base_error error;

static void set_up(void)
{
    budget_init(&budget);
}

static void tear_down(void)
{
    budget_fini(&budget);
}

TestSuite(budget, .init = set_up, .fini = tear_down);

Test(budget, reserves_zeroed_page_aligned_memory)
{
    uint8_t *memory = budget_reserve(&budget, "things", 1000, 7, "why", &error);
    cr_assert_not_null(memory);
    cr_assert_eq((uintptr_t)memory % (uintptr_t)sysconf(_SC_PAGESIZE), 0u);
    for (int i = 0; i < 7000; i++)
        cr_assert_eq(memory[i], 0);
    memset(memory, 1, 7000);
    uint8_t *more = budget_reserve(&budget, "things", 1000, 7, "why", &error);
    cr_assert(more >= memory + 7000 || more + 7000 <= memory);
}

Test(budget, touches_every_page)
{
    enum { BYTES = 1 << 20 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char resident[BYTES / 1024];
    void *memory = budget_reserve(&budget, "pages", 1, BYTES, "why", &error);
    cr_assert_eq(mincore(memory, BYTES, resident), 0);
    for (size_t i = 0; i < BYTES / page; i++)
        cr_assert(resident[i] & 1, "page %zu would fault later", i);
}

Test(budget, lists_one_line_per_name_and_size)
{
    budget_reserve(&budget, "a", 2, 100, "first", &error);
    budget_reserve(&budget, "b", 3, 100, "second", &error);
    budget_reserve(&budget, "a", 4, 100, "third", &error);
    budget_reserve(&budget, "a", 5, 200, "fourth", &error);
    budget_note(&budget, "b", 6, 100, "fifth");
    budget_note(&budget, "c", 1, 7, "sixth");
    cr_assert_eq(budget.line_count, 4);
    cr_assert_eq(budget.block_count, 4);
    cr_assert_str_eq(budget.lines[0].name, "a");
    cr_assert_eq(budget.lines[0].count, 6);
    cr_assert_str_eq(budget.lines[0].reason, "first");
    cr_assert_eq(budget.lines[1].count, 9);
    cr_assert_eq(budget.lines[2].count, 5);
    cr_assert_eq(budget.lines[2].bytes_each, 200);
    cr_assert_eq(budget_total(&budget), 600u + 900u + 1000u + 7u);
}

Test(budget, says_what_it_could_not_reserve)
{
    cr_assert_null(budget_reserve(&budget, "dreams", 1, UINT64_C(1) << 60, "why", &error));
    cr_assert_eq(error.code, -ENOMEM);
    cr_assert_not_null(strstr(error.text, "dreams"), "%s", error.text);
    cr_assert_not_null(strstr(error.text, "1152921504606846976"), "%s", error.text);
    cr_assert_eq(budget_total(&budget), 0u);
    cr_assert_eq(budget.line_count, 0);
}

/* count x bytes_each is 2 modulo 2^64. */
Test(budget, refuses_a_product_that_does_not_fit)
{
    cr_assert_null(budget_reserve(&budget, "wrapped", (UINT64_C(1) << 63) + 1, 2, "why", &error));
    cr_assert_eq(error.code, -ENOMEM);
}

Test(budget, holds_as_many_lines_as_it_says)
{
    for (uint64_t i = 1; i <= BUDGET_LINES_MAX; i++)
        budget_note(&budget, "line", 1, i, "why");
    budget_note(&budget, "line", 1, BUDGET_LINES_MAX, "why"); /* adds to the last one */
    cr_assert_eq(budget.line_count, BUDGET_LINES_MAX);
}

Test(budget, one_line_too_many_aborts, .signal = SIGABRT)
{
    for (uint64_t i = 1; i <= BUDGET_LINES_MAX + 1; i++)
        budget_note(&budget, "line", 1, i, "why");
}

Test(budget, gives_everything_back)
{
    unsigned char resident;
    void *memory = budget_reserve(&budget, "a", 1, 1, "why", &error);
    cr_assert_eq(mincore(memory, 1, &resident), 0);
    budget_fini(&budget);
    cr_assert(mincore(memory, 1, &resident) < 0 && errno == ENOMEM, "still mapped");
    cr_assert_eq(budget_total(&budget), 0u);
    budget_fini(&budget); /* twice is fine */
}
