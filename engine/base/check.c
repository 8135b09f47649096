#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void base_check_failed(const char *condition, const char *file, int line,
                                 const char *function)
{
    fprintf(stderr, "sluice: invariant violated: %s at %s:%d in %s; please report this\n",
            condition, file, line, function);
    abort();
}
