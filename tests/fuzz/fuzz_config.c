/*
 * Any bytes as a configuration: no crash, no leak, bounded time. What loads is
 * rendered and compared with itself, so that those see odd models too.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
use(const struct config *config)
{
	char *json = config_render_json(config);
	char *diff = config_diff(config, config);

	if (json == NULL || diff == NULL || diff[0] != '\0')
		abort();
	free(json);
	free(diff);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = {(const char *)data, size};
	struct diags diags;
	struct config *config = config_load_text("fuzz.yaml", text, &diags);
	char *json = diags_json(&diags), *told = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&told, &len);

	if ((config == NULL) != (diags.errors > 0) || json == NULL)
		abort();
	diags_print(&diags, out, false);
	fclose(out);
	if (config)
		use(config);
	config_free(&config);
	diags_release(&diags);
	free(json);
	free(told);
	return 0;
}
