#include "gateway/cut.h"

#include <stdlib.h>

#include "base/xalloc.h"

struct gateway_cut {
	size_t waiting; /* acknowledgements, and one for cut_done */
	void (*done)(void *user);
	void *user;
};

struct gateway_cut *cut_new(void (*done)(void *user), void *user)
{
	struct gateway_cut *cut = xnew(struct gateway_cut);

	*cut = (struct gateway_cut){1, done, user};
	return cut;
}

void cut_expect(struct gateway_cut *cut)
{
	cut->waiting++;
}

void cut_acknowledge(struct gateway_cut *cut)
{
	if (--cut->waiting)
		return;
	cut->done(cut->user);
	free(cut);
}

void cut_done(struct gateway_cut *cut)
{
	cut_acknowledge(cut);
}
