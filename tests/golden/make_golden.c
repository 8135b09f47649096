/* Writes the golden data directory: make_golden DIRECTORY. Only a new version of the format, with
 * docs/segment-format.md and the expectations in tests/unit/test_golden.c changed alongside, is a
 * reason to write the committed one again. */
#include "golden_directory.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_golden DIRECTORY (which must not exist)\n");
        return 64;
    }
    golden_directory_make(argv[1]);
    return 0;
}
