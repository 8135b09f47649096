#include "ingress/listener.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG  4096 /* capped by net.core.somaxconn; a reminder brings thousands at once */
#define RETRY_MS 5    /* there is no event for "the port is free" */

int ingress_address_parse(struct ingress_address *address, const char *text,
                          struct base_error *error)
{
    char host[INGRESS_ADDRESS_TEXT_BYTES];
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
    *address = (struct ingress_address){.bytes = 0};
    if (colon == NULL || colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > 65535 ||
        (size_t)(colon - text) >= sizeof(host))
        return base_error_set(
            error, -EINVAL,
            "%s is not an address: write 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080", text);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    size_t length = strlen(host);
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        address->socket.v6.sin6_family = AF_INET6;
        address->socket.v6.sin6_port = htons((uint16_t)port);
        address->bytes = sizeof(address->socket.v6);
        if (inet_pton(AF_INET6, host + 1, &address->socket.v6.sin6_addr) == 1)
            return 0;
    } else {
        address->socket.v4.sin_family = AF_INET;
        address->socket.v4.sin_port = htons((uint16_t)port);
        address->bytes = sizeof(address->socket.v4);
        if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                      &address->socket.v4.sin_addr) == 1)
            return 0;
    }
    return base_error_set(error, -EINVAL,
                          "%s: \"%s\" is not an IP address (names are not looked up)", text, host);
}

void ingress_address_format(const struct ingress_address *address,
                            char text_out[INGRESS_ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (address->socket.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->socket.v6.sin6_addr, host, sizeof(host));
        snprintf(text_out, INGRESS_ADDRESS_TEXT_BYTES, "[%s]:%u", host,
                 ntohs(address->socket.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &address->socket.v4.sin_addr, host, sizeof(host));
        snprintf(text_out, INGRESS_ADDRESS_TEXT_BYTES, "%s:%u", host,
                 ntohs(address->socket.v4.sin_port));
    }
}

bool ingress_address_is_loopback(const struct ingress_address *address)
{
    in_addr_t v4 = ntohl(address->socket.v4.sin_addr.s_addr);
    if (address->socket.any.sa_family == AF_INET6) {
        const struct in6_addr *v6 = &address->socket.v6.sin6_addr;
        if (!IN6_IS_ADDR_V4MAPPED(v6))
            return IN6_IS_ADDR_LOOPBACK(v6);
        memcpy(&v4, &v6->s6_addr[12], sizeof(v4));
        v4 = ntohl(v4);
    }
    return v4 >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

/* A bound socket, or a negative errno. */
static int bind_socket(const struct ingress_address *address, int share_port)
{
    int one = 1;
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        (share_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0) ||
        bind(fd, &address->socket.any, address->bytes) < 0) {
        int failure = -errno;
        close(fd);
        return failure;
    }
    return fd;
}

/* Binds without sharing, which fails as long as anybody else listens there; learns the port. */
static int probe_address(struct ingress_address *address, uint64_t wait_ms)
{
    uint64_t until = base_clock_monotonic_ns() + wait_ms * NANOSECONDS_PER_MILLISECOND;
    for (;;) {
        int fd = bind_socket(address, 0);
        /* a listening socket of somebody else shows only in listen() when both set REUSEADDR */
        if (fd >= 0 && listen(fd, 1) < 0) {
            int failure = -errno;
            close(fd);
            fd = failure;
        }
        if (fd >= 0) {
            socklen_t bytes = sizeof(address->socket);
            int failure = getsockname(fd, &address->socket.any, &bytes) < 0 ? -errno : 0;
            close(fd);
            return failure;
        }
        if (fd != -EADDRINUSE || base_clock_monotonic_ns() >= until)
            return fd;
        poll(NULL, 0, RETRY_MS);
    }
}

int ingress_listeners_open(struct ingress_address *address, unsigned count, uint64_t wait_ms,
                           int *sockets_out, struct base_error *error)
{
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    int result = probe_address(address, wait_ms);
    ingress_address_format(address, text);
    for (unsigned i = 0; i < count && result == 0; i++) {
        sockets_out[i] = bind_socket(address, 1);
        if (sockets_out[i] >= 0 && listen(sockets_out[i], BACKLOG) < 0) {
            result = -errno;
            close(sockets_out[i]);
        } else if (sockets_out[i] < 0) {
            result = sockets_out[i];
        }
        if (result < 0)
            while (i-- > 0)
                close(sockets_out[i]);
    }
    if (result == -EADDRINUSE)
        return base_error_set(error, result,
                              "%s is in use by another process: stop it, or choose another port",
                              text);
    if (result < 0)
        return base_error_os(error, result, "cannot listen on %s", text);
    return 0;
}
