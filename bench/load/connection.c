#include "load/connection.h"

#include "base/check.h"
#include "ingress/uring.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int load_connection_open(struct load_connection *connection, const struct ingress_address *address,
                         struct base_error *error)
{
    static const int on = 1;
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        connect(fd, &address->socket.any, address->bytes) < 0) {
        int failure = -errno;
        if (fd >= 0)
            close(fd);
        ingress_address_format(address, text);
        return base_error_os(error, failure, "cannot connect to %s", text);
    }
    connection->fd = fd;
    connection->ending = false;
    connection->in_bytes = connection->out_bytes = connection->out_sent = 0;
    connection->flight_first = connection->flight_count = 0;
    return 0;
}

void load_connection_end(struct load_connection *connection)
{
    if (connection->ending)
        return;
    connection->ending = true;
    shutdown(connection->fd, SHUT_RDWR); /* completes what is under way */
}

bool load_connection_close_if_idle(struct load_connection *connection)
{
    if (!connection->ending || connection->sending || connection->receiving)
        return false;
    close(connection->fd);
    connection->fd = -1;
    return true;
}

void load_connection_receive(struct load_connection *connection, struct io_uring *ring)
{
    CHECK(!connection->receiving && connection->in_bytes < LOAD_RECEIVE_BYTES);
    struct io_uring_sqe *entry = uring_entry(ring);
    io_uring_prep_recv(entry, connection->fd, connection->in + connection->in_bytes,
                       LOAD_RECEIVE_BYTES - connection->in_bytes, 0);
    io_uring_sqe_set_data64(entry, load_tag(LOAD_RECEIVED, connection->index));
    connection->receiving = true;
}

void load_connection_send(struct load_connection *connection, struct io_uring *ring)
{
    CHECK(!connection->sending && connection->out_sent < connection->out_bytes);
    struct io_uring_sqe *entry = uring_entry(ring);
    io_uring_prep_send(entry, connection->fd, connection->out + connection->out_sent,
                       connection->out_bytes - connection->out_sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(entry, load_tag(LOAD_SENT, connection->index));
    connection->sending = true;
}
