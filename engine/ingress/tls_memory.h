/* Memory for OpenSSL: the C library's, behind lists of small blocks that each thread keeps. OpenSSL
 * 3.0 allocates a few bytes for each record that it writes (its WPACKET) and frees them at once;
 * with these lists that is no call of malloc, so open sessions cost none
 * (tests/system/test_tls.py).
 *
 * Any thread; a block may be freed by another thread than the one that asked for it. Blocks on a
 * list are bounded (TLS_MEMORY_LISTED_MAX per thread and size) and never given back.
 */
#ifndef SLUICE_INGRESS_TLS_MEMORY_H
#define SLUICE_INGRESS_TLS_MEMORY_H

#include <stdbool.h>

#define TLS_MEMORY_LISTED_MAX 64 /* more than one call of OpenSSL has in use at a time */

/* Before anything else of OpenSSL allocates; later it is false. Does nothing in sanitized builds,
 * which want to see every block. */
bool ingress_tls_memory_install(void);

#endif
