/*
 * weir health: one question to the admin address of a running weir, for
 * container and service checks. 0 alive, 1 not.
 */
#include "proxy/command/admin_address.h"
#include "proxy/command/fetch.h"
#include "tls/tls.h"

const struct flag health_flags[] = {
    {FLAG_LONG, "admin", "ADDR",
        "admin address; $WEIR_ADMIN or unix:/run/weir/admin.sock without"},
    {FLAG_LONG + 1, "timeout", "D", "how long to wait, \"2s\" without"},
    {0},
};

static int
ask_health(const struct address *admin, struct tls_client *tls, nsec_t timeout)
{
	struct fetch *fetch = fetch_new(admin, tls, 0, timeout);
	struct fetch_reply reply;
	struct err err;
	int code = EXIT_INTERNAL;

	if (!fetch)
		return EXIT_INTERNAL;
	if (!fetch_call(fetch,
	        &(struct fetch_ask){"GET", "/healthz", "", SPAN("")}, &reply,
	        &err))
		fprintf(stderr, "weir health: %s\n", err.text);
	else if (reply.status != 200)
		fprintf(stderr, "weir health: %s answered %u\n", admin->text,
		    reply.status);
	else
		code = EXIT_OK;
	fetch_free(&fetch);
	return code;
}

int
cmd_health(struct args *args)
{
	/* nothing is told and little is believed: who answers there lives */
	static const struct pool_tls_cfg believing = {
	    .on = true, .verify = VERIFY_OFF};
	struct admin_wish wish = {0};
	struct tls_client *tls = NULL;
	bool is_tls;
	nsec_t timeout = 2 * NSEC_PER_SEC;
	struct address admin;
	struct err err;
	int code;

	for (int key; (key = args_next(args)) != ARG_END;) {
		if (key == ARG_WRONG)
			return EXIT_USAGE;
		if (key == FLAG_LONG)
			wish.admin = args->value;
		else if (key == ARG_WORD)
			return args_refuse(
			    args, "takes no \"%s\"", args->value);
		else if (!units_duration(span_of(args->value), &timeout) ||
		         timeout <= 0)
			return args_refuse(args,
			    "--timeout %s is no duration; say \"500ms\" or "
			    "\"2s\"",
			    args->value);
	}
	if (!admin_address(args, &wish, &admin, &is_tls, &code))
		return code;
	if (is_tls && !(tls = tls_client_new(&believing, 1, &err)))
		return EXIT_INTERNAL;
	code = ask_health(&admin, tls, timeout);
	if (tls)
		tls_client_free(&tls);
	address_release(&admin);
	return code;
}
