#include "base/problem.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct base_problem_class classes[] = {
#define BASE_PROBLEM_ROW(name, status, slug, title) [BASE_PROBLEM_##name] = {status, slug, title},
    BASE_PROBLEM_EACH(BASE_PROBLEM_ROW)
#undef BASE_PROBLEM_ROW
};

const struct base_problem_class *base_problem_class_of(enum base_problem_kind kind)
{
    CHECK(kind > BASE_PROBLEM_NONE && kind < BASE_PROBLEM_KIND_COUNT);
    return &classes[kind];
}

/* Longest prefix of `bytes` bytes that does not end inside a UTF-8 character. */
static size_t utf8_floor(const char *text, size_t bytes)
{
    while (bytes > 0 && ((uint8_t)text[bytes] & 0xC0) == 0x80)
        bytes--;
    return bytes;
}

void base_problem_set(struct base_problem *problem, enum base_problem_kind kind, const char *format,
                      ...)
{
    problem->kind = kind;
    problem->pointer[0] = '\0';
    problem->pointer_cut = false;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(problem->detail, sizeof(problem->detail), format, arguments);
    va_end(arguments);
    if (bytes >= (int)sizeof(problem->detail)) { /* cut: not inside a character */
        size_t start = sizeof(problem->detail) - 1;
        while (start > 0 && ((uint8_t)problem->detail[start - 1] & 0xC0) == 0x80)
            start--;
        if (start > 0 && ((uint8_t)problem->detail[start - 1] & 0xC0) == 0xC0)
            start--;
        problem->detail[start] = '\0';
    }
}

void base_problem_pointer_push(struct base_problem *problem, const char *name, size_t name_bytes)
{
    static const char cut[] = "...";
    size_t used = strlen(problem->pointer);
    size_t room = sizeof(problem->pointer) - sizeof(cut); /* the cut mark always fits */
    char *at = problem->pointer;
    if (problem->pointer_cut)
        return;
    if (used >= room) {
        memcpy(at + used, cut, sizeof(cut));
        problem->pointer_cut = true;
        return;
    }
    at[used++] = '/';
    for (size_t i = 0; i < name_bytes; i++) {
        const char *part = name[i] == '~' ? "~0" : name[i] == '/' ? "~1" : NULL;
        size_t part_bytes = part != NULL ? 2 : 1;
        if (used + part_bytes > room) {
            at[used] = name[i]; /* so that utf8_floor sees what would come next */
            used = utf8_floor(at, used);
            memcpy(at + used, cut, sizeof(cut));
            problem->pointer_cut = true;
            return;
        }
        memcpy(at + used, part != NULL ? part : name + i, part_bytes);
        used += part_bytes;
    }
    at[used] = '\0';
}
