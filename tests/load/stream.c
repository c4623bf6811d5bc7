#include "stream.h"

#include <string.h>

#include "base/clock.h"
#include "wire/ip.h"

enum {
	HEADERS = IP_V4_HEADER + IP_UDP_HEADER,
	MAGIC = 0x74756e64,
	PAYLOAD = 4 + 4 + 8 + 8, /* magic, device, number, when: big-endian */
	PACKET_MAX = 1500,
	OUR_PORT = 7000,
	TTL = 64,
	BURST_MS = 50, /* time that was slept away is made up for so far */
};

/* ---- out ---- */

static void put64(uint8_t *at, uint64_t value)
{
	ip_put32(at, (uint32_t)(value >> 32));
	ip_put32(at + 4, (uint32_t)value);
}

static uint64_t get64(const uint8_t *at)
{
	return (uint64_t)ip_get32(at) << 32 | ip_get32(at + 4);
}

static void write_headers(uint8_t *packet, size_t size, const struct addr *from,
			  const struct endpoint *to)
{
	struct addr echo = addr_of_endpoint(to);
	uint8_t *udp = packet + IP_V4_HEADER;

	memset(packet, 0, HEADERS);
	packet[0] = 0x45;
	ip_put16(packet + 2, (uint16_t)size);
	packet[8] = TTL;
	packet[9] = IP_PROTO_UDP;
	memcpy(packet + 12, from->bytes, 4);
	memcpy(packet + 16, echo.bytes, 4);
	ip_set_v4_checksum(packet);
	ip_put16(udp, OUR_PORT);
	ip_put16(udp + 2, addr_port(to));
	ip_put16(udp + 4, (uint16_t)(size - IP_V4_HEADER));
}

static void finish_checksum(uint8_t *packet, size_t size)
{
	uint8_t *udp = packet + IP_V4_HEADER;
	size_t len = size - IP_V4_HEADER;
	uint64_t sum = ip_sum_pseudo(4, packet + 12, packet + 16, IP_PROTO_UDP, (uint32_t)len);
	uint16_t folded = (uint16_t)~ip_sum_fold(ip_sum(udp, len, sum));

	/* Zero would say that there is no checksum. */
	ip_put_sum(udp + 6, folded ? folded : 0xffff);
}

static void send_one(struct stream *stream, struct device *device)
{
	size_t size = stream->options.size;
	uint8_t packet[PACKET_MAX], *payload = packet + HEADERS;

	write_headers(packet, size, &device->v4, &stream->options.echo);
	memset(payload, 0, size - HEADERS);
	ip_put32(payload, MAGIC);
	ip_put32(payload + 4, device->number);
	put64(payload + 8, device->sent++);
	put64(payload + 16, (uint64_t)clock_now_us());
	finish_checksum(packet, size);
	device_send(device, packet, size);
	stream->sent++;
}

/* The next that is up, in turn. NULL when nobody is. */
static struct device *next_device(struct stream *stream)
{
	for (size_t i = 0; i < stream->options.devices; i++) {
		struct device *device = &stream->crowd->devices[stream->next];

		stream->next = (stream->next + 1) % stream->options.devices;
		if (device->state == DEVICE_UP && device->v4.family)
			return device;
	}
	return NULL;
}

static void on_timer(uv_timer_t *timer)
{
	struct stream *stream = timer->data;
	int64_t now_us = clock_now_us();
	double most = stream->options.rate * BURST_MS / 1000 + 1;

	stream->owed += stream->options.rate * (double)(now_us - stream->last_us) / CLOCK_SECOND_US;
	stream->last_us = now_us;
	if (stream->owed > most) {
		stream->skipped += (uint64_t)(stream->owed - most);
		stream->owed = most;
	}
	while (stream->owed >= 1) {
		struct device *device = next_device(stream);

		stream->owed -= 1;
		if (!device)
			return;
		send_one(stream, device);
	}
}

/* ---- back ---- */

static bool is_ours(const struct device *device, const uint8_t *packet, size_t len)
{
	struct ip_view view;

	return ip_read(packet, len, &view) == IP_OK && view.family == 4 && view.has_ports &&
	       view.protocol == IP_PROTO_UDP && view.destination_port == OUR_PORT &&
	       len >= HEADERS + PAYLOAD && ip_get32(packet + HEADERS) == MAGIC &&
	       ip_get32(packet + HEADERS + 4) == device->number;
}

static void on_packet(struct device *device, const uint8_t *packet, size_t len)
{
	struct stream *stream = device->world->packet_user;
	const uint8_t *payload = packet + HEADERS;
	uint64_t number;

	if (!is_ours(device, packet, len))
		return;
	number = get64(payload + 8);
	stream->back++;
	device->back++;
	if (number < device->next_number)
		stream->late++;
	else
		device->next_number = number + 1;
	samples_add(&stream->rtt_us, clock_now_us() - (int64_t)get64(payload + 16));
}

/* ---- the whole of it ---- */

void stream_init(struct stream *stream, struct crowd *crowd)
{
	*stream = (struct stream){.crowd = crowd};
	crowd->world.packet = on_packet;
	crowd->world.packet_user = stream;
	uv_timer_init(&crowd->loop, &stream->timer);
	stream->timer.data = stream;
}

void stream_done(struct stream *stream)
{
	uv_close((uv_handle_t *)&stream->timer, NULL);
	samples_done(&stream->rtt_us);
}

void stream_start(struct stream *stream, const struct stream_options *options)
{
	size_t count = stream->crowd->count;

	stream->options = *options;
	if (stream->options.devices > count)
		stream->options.devices = count;
	if (stream->options.size < HEADERS + PAYLOAD)
		stream->options.size = HEADERS + PAYLOAD;
	if (stream->options.size > PACKET_MAX)
		stream->options.size = PACKET_MAX;
	for (size_t i = 0; i < count; i++) {
		struct device *device = &stream->crowd->devices[i];

		device->sent = device->back = device->next_number = 0;
	}
	stream->sent = stream->back = stream->late = stream->skipped = 0;
	stream->owed = 1;
	stream->next = 0;
	stream->began_us = stream->last_us = clock_now_us();
	samples_clear(&stream->rtt_us);
	uv_timer_start(&stream->timer, on_timer, 0, 1);
}

void stream_stop(struct stream *stream)
{
	if (uv_is_active((uv_handle_t *)&stream->timer))
		stream->ended_us = clock_now_us();
	uv_timer_stop(&stream->timer);
}

json_t *stream_report(struct stream *stream)
{
	double seconds = (double)(stream->ended_us - stream->began_us) / CLOCK_SECOND_US;
	size_t silent = 0;

	for (size_t i = 0; i < stream->options.devices; i++)
		silent += stream->crowd->devices[i].back == 0;
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "sent",
			 (json_int_t)stream->sent, "back", (json_int_t)stream->back, "lost",
			 (json_int_t)(stream->sent - stream->back), "late",
			 (json_int_t)stream->late, "not_sent_in_time", (json_int_t)stream->skipped,
			 "devices_without_answer", (json_int_t)silent, "seconds", seconds, "rate",
			 seconds > 0 ? (double)stream->sent / seconds : 0.0, "rtt_ms",
			 samples_json(&stream->rtt_us));
}
