/*
 * Answers of name servers about services: whatever a message says, what is
 * taken of it is within its bounds and in its order.
 */
#include <ares.h>
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/control/dns_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* In memory that ends with its last byte. */
	uint8_t *copy = malloc(size > 0 ? size : 1);
	struct dns_service service;
	int status;

	assert(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	status = dns_read_service(copy, size, "_h._t.s", &service);
	free(copy);
	if (status == ARES_SUCCESS)
		assert(service.is_denied == (service.n == 0));
	if (status == ARES_EBADRESP)
		assert(service.at == NULL);
	assert(service.n <= DNS_TARGETS_MAX && service.n <= service.n_told);
	for (size_t i = 0; i < service.n; i++) {
		assert(service.at[i].port > 0 && service.at[i].host[0]);
		assert(strlen(service.at[i].host) < DNS_NAME_MAX);
		assert(i == 0 ||
		       service.at[i - 1].priority <= service.at[i].priority);
	}
	dns_service_release(&service);
	return 0;
}
