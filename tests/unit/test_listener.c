/* Addresses as text and back, and listening sockets on a free and on a taken port. */
#include "ingress/listener.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

static struct ingress_address address;
static struct base_error error;

Test(listener, parses_and_formats_addresses)
{
    static const struct {
        const char *text, *formatted;
    } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"localhost:80", "127.0.0.1:80"},
        {"[::1]:8080", "[::1]:8080"},
        {"[::]:0", "[::]:0"},
        {"[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443"},
        {"[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1"},
        {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
         "[1111:2222:3333:4444:5555:6666:7777:8888]:65535"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[INGRESS_ADDRESS_TEXT_BYTES];
        cr_assert_eq(ingress_address_parse(&address, cases[i].text, &error), 0, "%s: %s",
                     cases[i].text, error.text);
        ingress_address_format(&address, text);
        cr_assert_str_eq(text, cases[i].formatted);
    }
}

Test(listener, knows_what_other_machines_cannot_reach)
{
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:1", true},
        {"127.255.3.4:1", true},
        {"[::1]:1", true},
        {"[::ffff:127.0.0.1]:1", true},
        {"0.0.0.0:1", false},
        {"126.255.255.255:1", false},
        {"128.0.0.1:1", false},
        {"1.0.0.127:1", false},
        {"[::]:1", false},
        {"[::2]:1", false},
        {"[::ffff:1.0.0.127]:1", false},
        {"[fe80::1]:1", false},
        {"[::127.0.0.1]:1", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(ingress_address_parse(&address, cases[i].text, &error), 0, "%s", error.text);
        cr_assert_eq(ingress_address_is_loopback(&address), cases[i].loopback, "%s", cases[i].text);
    }
}

Test(listener, refuses_what_is_no_address)
{
    static const char *const cases[] = {
        "",
        ":",
        ":8080",
        "8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:80x",
        "127.0.0.1:+80",
        "127.0.0.1:-1",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        "127.0.0.1:65536",
        "127.0.0.1:4294967376",
        "127.0.0.1:18446744073709551616",
        "127.0.0.1:99999999999999999999",
        "127.0.0:80",
        "127.0.0.1.1:80",
        "256.0.0.1:80",
        " 127.0.0.1:80",
        "127.0.0.1 :80",
        "http://127.0.0.1:80",
        "example.org:80",
        "*:80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1]x:80",
        "[]:80",
        "[:80",
        "]:80",
        "[::1:80",
        "[127.0.0.1]:80",
        "[localhost]:80",
        "[fe80::1%lo]:80",
        "[:::1]:80",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111:80",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        error.text[0] = '\0';
        cr_assert_eq(ingress_address_parse(&address, cases[i], &error), -EINVAL, "\"%s\" was taken",
                     cases[i]);
        cr_assert_not_null(strstr(error.text, cases[i]), "%s", error.text);
    }
}

static unsigned descriptor_count(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    cr_assert_not_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void open_listeners(const char *text, unsigned count, int *sockets_out)
{
    cr_assert_eq(ingress_address_parse(&address, text, &error), 0);
    cr_assert_eq(ingress_listeners_open(&address, count, 0, sockets_out, &error), 0, "%s",
                 error.text);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    cr_assert_eq(getsockopt(fd, level, option, &value, &bytes), 0);
    return value;
}

Test(listener, port_0_becomes_one_port_for_all_sockets)
{
    int sockets[4];
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    open_listeners("127.0.0.1:0", 4, sockets);
    cr_assert_neq(address.socket.v4.sin_port, 0);
    ingress_address_format(&address, text);
    cr_assert_null(strstr(text, ":0"), "%s", text);
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in bound;
        socklen_t bytes = sizeof(bound);
        cr_assert_eq(getsockname(sockets[i], (struct sockaddr *)&bound, &bytes), 0);
        cr_assert_eq(bound.sin_port, address.socket.v4.sin_port);
        cr_assert_eq(bound.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        cr_assert_neq(option_of(sockets[i], SOL_SOCKET, SO_ACCEPTCONN), 0);
        cr_assert_neq(option_of(sockets[i], IPPROTO_TCP, TCP_NODELAY), 0);
        close(sockets[i]);
    }
}

Test(listener, takes_connections)
{
    int listening, accepted, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    open_listeners("127.0.0.1:0", 1, &listening);
    cr_assert_eq(connect(client, &address.socket.any, address.bytes), 0);
    accepted = accept(listening, NULL, NULL);
    cr_assert_geq(accepted, 0);
    cr_assert_neq(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 0, "not inherited");
    close(accepted);
    close(client);
    close(listening);
}

Test(listener, takes_connections_over_ipv6)
{
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (probe < 0 || bind(probe, (struct sockaddr *)&loopback, sizeof(loopback)) < 0)
        cr_skip_test("this machine has no IPv6");
    close(probe);
    int listening, client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    open_listeners("[::1]:0", 1, &listening);
    cr_assert_neq(address.socket.v6.sin6_port, 0);
    cr_assert_eq(connect(client, &address.socket.any, address.bytes), 0);
    close(client);
    close(listening);
}

/* SO_REUSEPORT must not let two engines share a port. */
Test(listener, an_address_in_use_is_an_error_that_names_it)
{
    int first[2], second[2];
    char text[INGRESS_ADDRESS_TEXT_BYTES];
    open_listeners("127.0.0.1:0", 2, first);
    ingress_address_format(&address, text);
    unsigned before = descriptor_count();
    cr_assert_eq(ingress_listeners_open(&address, 2, 0, second, &error), -EADDRINUSE);
    cr_assert_eq(ingress_listeners_open(&address, 2, 20, second, &error), -EADDRINUSE);
    cr_assert_not_null(strstr(error.text, text), "%s", error.text);
    cr_assert_not_null(strstr(error.text, "in use"), "%s", error.text);
    cr_assert_eq(descriptor_count(), before, "descriptors leak");
    close(first[0]);
    close(first[1]);
    open_listeners(text, 2, second);
    close(second[0]);
    close(second[1]);
}

Test(listener, an_address_of_another_machine_is_an_error)
{
    int sockets[2];
    unsigned before = descriptor_count();
    cr_assert_eq(ingress_address_parse(&address, "192.0.2.1:0", &error), 0); /* RFC 5737 */
    cr_assert_eq(ingress_listeners_open(&address, 2, 0, sockets, &error), -EADDRNOTAVAIL);
    cr_assert_not_null(strstr(error.text, "192.0.2.1:0"), "%s", error.text);
    cr_assert_eq(descriptor_count(), before, "descriptors leak");
}
