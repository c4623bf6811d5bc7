/* wire/cstp: a record of TLS, a record of DTLS. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/cstp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cstp_frame frame;
	uint8_t header[CSTP_HEADER];

	if (cstp_read_record(data, size, &frame)) {
		assert(frame.payload == data + CSTP_HEADER && frame.len == size - CSTP_HEADER);
		cstp_write_header(header, frame.type, frame.len);
		assert(memcmp(header, data, CSTP_HEADER) == 0);
	}
	if (cstp_read_datagram(data, size, &frame))
		assert(frame.type == data[0] && frame.len == size - 1);
	else
		assert(size == 0);
	return 0;
}
