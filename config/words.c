/*
 * Words that stand for numbers: methods and roles. The order of the tables is
 * the order of the enums.
 */
#include <assert.h>

#include "config/config.h"

static const char *const method_names[METHOD_COUNT] = {
    [METHOD_GET] = "GET",
    [METHOD_HEAD] = "HEAD",
    [METHOD_POST] = "POST",
    [METHOD_PUT] = "PUT",
    [METHOD_DELETE] = "DELETE",
    [METHOD_CONNECT] = "CONNECT",
    [METHOD_OPTIONS] = "OPTIONS",
    [METHOD_TRACE] = "TRACE",
    [METHOD_PATCH] = "PATCH",
    [METHOD_OTHER] = "OTHER",
};

static const char *const role_names[] = {
    [ROLE_NONE] = "none",
    [ROLE_VIEWER] = "viewer",
    [ROLE_OPERATOR] = "operator",
    [ROLE_APPROVER] = "approver",
    [ROLE_ADMIN] = "admin",
};

const char *
method_name(enum http_method method)
{
	assert((unsigned)method < METHOD_COUNT);
	return method_names[method];
}

enum http_method
method_of(struct span token)
{
	for (int i = 0; i < METHOD_OTHER; i++) {
		if (span_eq(token, span_of(method_names[i])))
			return (enum http_method)i;
	}
	return METHOD_OTHER;
}

const char *
role_name(enum role role)
{
	assert((unsigned)role <= ROLE_ADMIN);
	return role_names[role];
}
