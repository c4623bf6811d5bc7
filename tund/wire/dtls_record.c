#include "wire/dtls_record.h"

enum {
	VERSION_1_2 = 0xfefd,
	VERSION_1_0 = 0xfeff,
	HANDSHAKE_HEADER = 12,
	CLIENT_HELLO = 1,
	WINDOW = 64,
};

static unsigned read_u16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t read_u24(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

enum dtls_record_error dtls_record_read(const uint8_t *datagram, size_t len,
					struct dtls_record *ret)
{
	struct dtls_record record;
	unsigned version;

	if (len < DTLS_RECORD_HEADER)
		return DTLS_RECORD_SHORT;
	record.type = datagram[0];
	if (record.type < DTLS_TYPE_CHANGE_CIPHER || record.type > DTLS_TYPE_DATA)
		return DTLS_RECORD_TYPE;
	version = read_u16(datagram + 1);
	record.epoch = (uint16_t)read_u16(datagram + 3);
	if (version != VERSION_1_2 &&
	    !(version == VERSION_1_0 && record.epoch == 0 && record.type == DTLS_TYPE_HANDSHAKE))
		return DTLS_RECORD_VERSION;
	record.sequence = (uint64_t)read_u16(datagram + 5) << 32 |
			  (uint64_t)read_u16(datagram + 7) << 16 | read_u16(datagram + 9);
	record.len = read_u16(datagram + 11);
	if (record.len > DTLS_RECORD_MAX || record.len > len - DTLS_RECORD_HEADER)
		return DTLS_RECORD_LENGTH;
	*ret = record;
	return DTLS_RECORD_OK;
}

bool dtls_window_fresh(const struct dtls_window *window, uint64_t sequence)
{
	uint64_t age;

	if (sequence >= window->next)
		return true;
	age = window->next - 1 - sequence;
	return age < WINDOW && !(window->bits >> age & 1);
}

void dtls_window_mark(struct dtls_window *window, uint64_t sequence)
{
	uint64_t step;

	if (sequence < window->next) {
		uint64_t age = window->next - 1 - sequence;

		if (age < WINDOW)
			window->bits |= UINT64_C(1) << age;
		return;
	}
	step = sequence + 1 - window->next;
	window->bits = step < WINDOW ? window->bits << step | 1 : 1;
	window->next = sequence + 1;
}

/* An application record or alert, which stands alone in its datagram. */
static enum dtls_record_error check_protected(const struct dtls_record *record, size_t datagram_len,
					      size_t aead_min, const struct dtls_window *window)
{
	if (record->epoch != 1)
		return DTLS_RECORD_EPOCH;
	if (record->len < aead_min)
		return DTLS_RECORD_SHORT;
	if (record->len != datagram_len - DTLS_RECORD_HEADER)
		return DTLS_RECORD_LENGTH;
	return dtls_window_fresh(window, record->sequence) ? DTLS_RECORD_OK : DTLS_RECORD_REPLAY;
}

/* A flight: handshake and change-cipher records one behind the other. */
static enum dtls_record_error check_flight(const uint8_t *datagram, size_t len, size_t aead_min)
{
	while (len) {
		struct dtls_record record;
		enum dtls_record_error error = dtls_record_read(datagram, len, &record);

		if (error)
			return error;
		if (record.type == DTLS_TYPE_DATA || record.type == DTLS_TYPE_ALERT ||
		    record.epoch > 1)
			return DTLS_RECORD_EPOCH;
		if (record.epoch == 1 && record.len < aead_min)
			return DTLS_RECORD_SHORT;
		datagram += DTLS_RECORD_HEADER + record.len;
		len -= DTLS_RECORD_HEADER + record.len;
	}
	return DTLS_RECORD_OK;
}

enum dtls_record_error dtls_record_check(const uint8_t *datagram, size_t len, size_t aead_min,
					 const struct dtls_window *window, struct dtls_record *ret)
{
	struct dtls_record record;
	enum dtls_record_error error = dtls_record_read(datagram, len, &record);

	if (error)
		return error;
	if (record.type == DTLS_TYPE_DATA || record.type == DTLS_TYPE_ALERT)
		error = check_protected(&record, len, aead_min, window);
	else
		error = check_flight(datagram, len, aead_min);
	if (!error)
		*ret = record;
	return error;
}

bool dtls_record_hello(const uint8_t *datagram, size_t len, const uint8_t **ret_app_id)
{
	struct dtls_record record;
	const uint8_t *message = datagram + DTLS_RECORD_HEADER;
	const uint8_t *id_len = message + HANDSHAKE_HEADER + 2 + 32;
	uint32_t body;

	if (dtls_record_read(datagram, len, &record) || record.type != DTLS_TYPE_HANDSHAKE ||
	    record.epoch != 0)
		return false;
	/* version, random, session id, cookie length, suites, compression: at least these */
	if (record.len < HANDSHAKE_HEADER + 2 + 32 + 1 + DTLS_APP_ID + 1 + 4 + 2)
		return false;
	body = read_u24(message + 1);
	if (message[0] != CLIENT_HELLO || body != record.len - HANDSHAKE_HEADER ||
	    read_u24(message + 6) != 0 || read_u24(message + 9) != body)
		return false;
	if (*id_len != DTLS_APP_ID)
		return false;
	*ret_app_id = id_len + 1;
	return true;
}
