/* A planted bug: a reader goes on using an object behind a quiescent point. stress_reload must
 * catch that, or its clean result means nothing. Passes by failing, with and without a sanitizer:
 * freed objects are overwritten first.
 */
#define PLANTED_KEEP
#include "stress_reload.c"
