/* Listening sockets: one per ingress on the same address, so that the kernel spreads connections
 * over the cores (SO_REUSEPORT). Used by the main thread at start; each socket then belongs to its
 * ingress. TCP_NODELAY is set here and inherited by every accepted socket.
 */
#ifndef SLUICE_INGRESS_LISTENER_H
#define SLUICE_INGRESS_LISTENER_H

#include "base/error.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct ingress_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } socket;
    socklen_t bytes;
};

#define INGRESS_ADDRESS_TEXT_BYTES 64

/* "127.0.0.1:8080" or "[::1]:8080"; port 0 lets the kernel choose. */
int ingress_address_parse(struct ingress_address *address, const char *text,
                          struct base_error *error);

/* The same notation; port 0 replaced once ingress_listeners_open chose one. */
void ingress_address_format(const struct ingress_address *address,
                            char text_out[INGRESS_ADDRESS_TEXT_BYTES]);

/* Only this machine can reach it: 127.0.0.0/8, ::1, or the former mapped into IPv6. */
bool ingress_address_is_loopback(const struct ingress_address *address);

/* Opens `count` listening sockets and fills in the port. Waits up to `wait_ms` for the address: an
 * engine that was just killed releases its socket late, and sharing it through SO_REUSEPORT would
 * send connections into the dead one. -EADDRINUSE when it is still taken then. */
int ingress_listeners_open(struct ingress_address *address, unsigned count, uint64_t wait_ms,
                           int *sockets_out, struct base_error *error);

#endif
