#include "data/count.h"

static const char *const names[COUNT_MAX] = {
#define COUNT_NAME(name, text) text,
	COUNT_TABLE(COUNT_NAME)
#undef COUNT_NAME
};

const char *count_name(enum count count)
{
	return names[count];
}
