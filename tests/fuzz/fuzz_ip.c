/* wire/ip, wire/ip_check: a packet is read, judged, clamped and answered. Its bytes are in memory
 * of exactly its size. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ip_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t gateway[16] = {10, 0, 0, 1};

static void check_sum(const uint8_t *packet, size_t len)
{
	uint8_t stored[2];
	uint32_t slow = 0;

	for (size_t i = 0; i < len; i++)
		slow += i % 2 ? packet[i] : (uint32_t)packet[i] << 8;
	while (slow >> 16)
		slow = (slow & 0xffff) + (slow >> 16);
	ip_put_sum(stored, ip_sum_fold(ip_sum(packet, len, 0)));
	assert(ip_get16(stored) == slow);
}

static void check_view(const uint8_t *packet, size_t len, const struct ip_view *view)
{
	size_t address = view->family == 4 ? 4 : 16;

	assert(view->family == 4 || view->family == 6);
	assert(view->len == len && view->transport <= len);
	assert(view->source >= packet && view->destination + address <= packet + view->transport);
	assert(!view->has_ports || (!view->is_later_fragment && view->transport + 4U <= len));
	assert(!view->is_later_fragment || view->is_fragment);
}

/* An error is a packet, and no error answers it. */
static void check_error(const uint8_t *error, size_t len)
{
	uint8_t again[IP_TOO_BIG_MAX];
	struct ip_view view;

	if (len == 0)
		return;
	assert(len <= IP_TOO_BIG_MAX && ip_read(error, len, &view) == IP_OK);
	assert(ip_write_too_big(error, &view, gateway, 1280, again) == 0);
	assert(ip_write_prohibited(error, &view, gateway, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *packet = malloc(size ? size : 1), error[IP_TOO_BIG_MAX];
	struct ip_view view;
	enum ip_error checked;

	assert(packet);
	memcpy(packet, data, size);
	check_sum(packet, size);
	checked = ip_check(packet, size, &view);
	assert(checked >= IP_OK && checked < IP_ERROR_MAX);
	if (ip_read(packet, size, &view) == IP_OK) {
		check_view(packet, size, &view);
		check_error(error, ip_write_too_big(packet, &view, gateway, 1280, error));
		check_error(error, ip_write_prohibited(packet, &view, gateway, error));
		ip_clamp_mss(packet, &view, 1400, true);
		ip_clamp_mss(packet, &view, 1280, false);
		assert(!ip_clamp_mss(packet, &view, 1280, false));
	}
	free(packet);
	return 0;
}
