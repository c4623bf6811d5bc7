#include "wire/cstp.h"

#include <string.h>

static const uint8_t magic[4] = {'S', 'T', 'F', 1};

void cstp_write_header(uint8_t header[static CSTP_HEADER], uint8_t type, size_t len)
{
	memcpy(header, magic, sizeof(magic));
	header[4] = (uint8_t)(len >> 8);
	header[5] = (uint8_t)len;
	header[6] = type;
	header[7] = 0;
}

bool cstp_read_record(const uint8_t *record, size_t len, struct cstp_frame *ret)
{
	if (len < CSTP_HEADER || memcmp(record, magic, sizeof(magic)) != 0 || record[7] != 0)
		return false;
	if ((size_t)(record[4] << 8 | record[5]) != len - CSTP_HEADER)
		return false;
	*ret = (struct cstp_frame){record[6], record + CSTP_HEADER, len - CSTP_HEADER};
	return true;
}

bool cstp_read_datagram(const uint8_t *record, size_t len, struct cstp_frame *ret)
{
	if (len == 0)
		return false;
	*ret = (struct cstp_frame){record[0], record + 1, len - 1};
	return true;
}
