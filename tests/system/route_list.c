/* Prints the engine's table of routes, a JSON object a line: what test_credentials.py must have
 * rows for. */
#include "ingress/routes.h"

#include <stdio.h>

static const char *scope_name(enum credentials_scope scope)
{
    switch (scope) {
#define SCOPE_NAME(each, text)                                                                     \
    case each:                                                                                     \
        return "\"" text "\"";
        CREDENTIALS_EACH_SCOPE(SCOPE_NAME)
#undef SCOPE_NAME
    case CREDENTIALS_NONE:
        break;
    }
    return "null";
}

int main(void)
{
    size_t count;
    const struct ingress_route *routes = ingress_routes(&count);
    for (size_t i = 0; i < count; i++)
        printf("{\"method\":\"%s\",\"path\":\"%s\",\"scope\":%s,\"public\":%s,\"admin\":%s}\n",
               routes[i].takes_submission ? "POST" : "GET", routes[i].path,
               scope_name(routes[i].scope),
               routes[i].roles & INGRESS_ROLE_PUBLIC ? "true" : "false",
               routes[i].roles & INGRESS_ROLE_ADMIN ? "true" : "false");
    return 0;
}
