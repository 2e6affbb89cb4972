/*
 * What nearly every command ends with: it has asked, or changed something, and
 * prints what was answered: as one document, or in words.
 */
#include <stdlib.h>

#include "admin/ctl/ctl.h"

int
ctl_show(const struct ctl *ctl, struct ctl_answer *answer, ctl_print_fn *print)
{
	int code = CTL_OK;

	if (ctl->is_json || !print)
		code = ctl_print_json(answer->json);
	else
		print(answer->json);
	ctl_answer_release(answer);
	return code;
}

int
ctl_show_path(struct ctl *ctl, char *path, ctl_print_fn *print)
{
	struct ctl_answer answer;
	int code = ctl_get(ctl, path, &answer);

	free(path);
	return code == CTL_OK ? ctl_show(ctl, &answer, print) : code;
}

static char *
path_of_change(const struct ctl *ctl, char *path)
{
	char *longer = NULL;

	if (!path || !ctl->is_dry_run)
		return path;
	if (asprintf(&longer, "%s?dry_run=1", path) < 0)
		longer = NULL;
	free(path);
	return longer;
}

int
ctl_change(struct ctl *ctl, const char *method, char *path, json_t *body,
    struct ctl_answer *out)
{
	int code;

	path = path_of_change(ctl, path);
	if (ctl->reason &&
	    json_object_set_new(body, "reason", json_string(ctl->reason)) != 0)
		code = ctl_usage(ctl, "the reason is not UTF-8");
	else
		code = ctl_ask(ctl,
		    &(struct ctl_request){
		        .method = method, .path = path, .body = body},
		    out);
	free(path);
	json_decref(body);
	return code;
}
