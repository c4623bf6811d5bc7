/* wire/tunnel_params: the offer in a request, the answer in a response. What was read is written
 * and read again. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/tunnel_params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_mtu(unsigned mtu)
{
	return mtu == 0 || (mtu >= TUNNEL_PARAMS_MTU_MIN_V4 && mtu <= TUNNEL_PARAMS_MTU_MAX);
}

static void check_plain(const char *text)
{
	for (; *text; text++)
		assert((unsigned char)*text >= 0x20 && (unsigned char)*text < 0x7f);
}

static void check_offer(const struct http_head *head)
{
	struct tunnel_offer offer;

	tunnel_params_read_offer(head, &offer);
	assert(is_mtu(offer.mtu) && is_mtu(offer.base_mtu));
	assert(memchr(offer.cookie, 0, sizeof(offer.cookie)));
	check_plain(offer.agent);
	check_plain(offer.hostname);
}

static void check_params(const struct tunnel_params *params)
{
	assert(params->v4.family == 4 || params->v6.family == 6);
	assert(!params->v4.family || addr_is_host(&params->v4));
	assert(!params->v6.family || addr_is_host(&params->v6));
	assert(params->v4_len <= 32 && params->v6_len <= 128);
	assert(params->mtu && is_mtu(params->mtu) && is_mtu(params->base_mtu));
	assert(params->routes.count <= TUNNEL_PARAMS_ROUTES_MAX);
	assert(params->networks.count <= TUNNEL_PARAMS_NETWORKS_MAX);
	assert(params->exclude.count <= TUNNEL_PARAMS_ROUTES_MAX);
	assert(params->dns.count <= TUNNEL_PARAMS_DNS_MAX);
	assert(params->domain_count <= TUNNEL_PARAMS_DOMAINS_MAX);
	assert(params->app_id_len <= DTLS_APP_ID);
	assert(!params->has_dtls || (params->dtls_port && params->app_id_len));
}

/* Our own spelling of it says the same; where it still fits into a head. */
static void check_again(const struct tunnel_params *params)
{
	struct buf text = {0};
	struct tunnel_params again;
	struct http_head head;
	char error[200];
	size_t len;

	tunnel_params_write_answer(&text, params, "tund");
	if (http_read_response((char *)text.data, text.len, &head, &len) == HTTP_OK) {
		assert(tunnel_params_read_answer(&head, &again, error, sizeof(error)));
		assert(addr_equal(&again.v4, &params->v4) && addr_equal(&again.v6, &params->v6));
		assert(again.mtu == params->mtu && again.has_dtls == params->has_dtls);
		assert(again.routes.count == params->routes.count);
		assert(again.networks.count == params->networks.count);
		assert(again.exclude.count == params->exclude.count);
		assert(again.dns.count == params->dns.count);
		assert(again.domain_count == params->domain_count);
		tunnel_params_done(&again);
	}
	buf_done(&text);
}

static void check_answer(const struct http_head *head)
{
	struct tunnel_params params;
	char error[200] = "";

	if (tunnel_params_read_answer(head, &params, error, sizeof(error))) {
		check_params(&params);
		check_again(&params);
	} else {
		assert(error[0]);
		check_plain(error);
	}
	tunnel_params_done(&params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_head head;
	size_t len;

	if (http_read_request((const char *)data, size, &head, &len) == HTTP_OK)
		check_offer(&head);
	if (http_read_response((const char *)data, size, &head, &len) == HTTP_OK)
		check_answer(&head);
	return 0;
}
