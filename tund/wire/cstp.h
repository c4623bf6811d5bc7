#pragma once
/* The frame around each packet of the tunnel (OpenConnect protocol,
 * draft-mavrogiannopoulos-openconnect): eight bytes on TLS, one frame a record; on DTLS the type
 * byte alone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cstp_type {
	CSTP_DATA = 0x00,
	CSTP_DPD_REQUEST = 0x03,
	CSTP_DPD_RESPONSE = 0x04,
	CSTP_DISCONNECT = 0x05,
	CSTP_KEEPALIVE = 0x07,
	CSTP_COMPRESSED = 0x08,
	CSTP_TERMINATE = 0x09,
};

enum {
	CSTP_HEADER = 8,
	CSTP_RECORD_MAX = 16384,      /* a TLS record's plaintext */
	CSTP_BYE_USER = 0xb0,	      /* the session is over */
	CSTP_BYE_RECONNECTING = 0x91, /* the session is kept */
	CSTP_BYE_LOCAL_ERROR = 0x70,  /* the session is over */
	CSTP_TEXT_MAX = 200,	      /* of a DISCONNECT we send or show */
};

struct cstp_frame {
	uint8_t type;
	const uint8_t *payload;
	size_t len;
};

/* Bytes 0..7 before a payload of len bytes. */
void cstp_write_header(uint8_t header[static CSTP_HEADER], uint8_t type, size_t len);
/* One TLS record. False: shorter than a header, wrong magic, reserved byte set, or a length that
 * differs from the record's. */
bool cstp_read_record(const uint8_t *record, size_t len, struct cstp_frame *ret);
/* One DTLS record. False when it is empty. */
bool cstp_read_datagram(const uint8_t *record, size_t len, struct cstp_frame *ret);
