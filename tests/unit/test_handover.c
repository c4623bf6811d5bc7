/* data/handover: packets from one thread to another. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/handover.h"
#include "data/offload.h"

enum { FROM = 2, WORKERS = 4 };

static unsigned woken;

static void on_wake(void *user)
{
	(void)user;
	woken++;
}

static int make_inbox(void **state)
{
	woken = 0;
	*state = handover_new(WORKERS, on_wake, NULL);
	return 0;
}

static int free_inbox(void **state)
{
	handover_free(*state);
	return 0;
}

static bool put(struct handover_inbox *inbox, unsigned from, uint32_t number, size_t len)
{
	static uint8_t packet[TUN_PACKET_MAX];
	struct tun_header header = {.gso_size = (uint16_t)number};

	memset(packet, (int)(number & 0xff), len);
	memcpy(packet, &number, len < sizeof(number) ? len : sizeof(number));
	return handover_put(inbox, from, &header, packet, len);
}

/* True: the next one was that one; it may be written to and around. */
static bool take_is(struct handover_inbox *inbox, unsigned from, uint32_t number, size_t len)
{
	struct tun_header header;
	uint8_t expected[4];
	uint8_t *packet;
	size_t got;

	packet = handover_take(inbox, from, handover_reach(inbox, from), &header, &got);
	if (!packet)
		return false;
	memcpy(expected, &number, 4);
	assert_int_equal(got, len);
	assert_int_equal(header.gso_size, (uint16_t)number);
	assert_memory_equal(packet, expected, len < 4 ? len : 4);
	for (size_t i = 4; i < len; i += 97)
		assert_int_equal(packet[i], number & 0xff);
	memset(packet - OFFLOAD_HEADROOM, 0xee, OFFLOAD_HEADROOM + len + HANDOVER_TAILROOM);
	handover_drop(inbox, from);
	return true;
}

static void test_order(void **state)
{
	static const size_t sizes[] = {1, 20, 64, 1400, TUN_PACKET_MAX, 576, 65000, 40};
	struct handover_inbox *inbox = *state;

	for (uint32_t i = 0; i < 8; i++)
		assert_true(put(inbox, FROM, i, sizes[i]));
	for (uint32_t i = 0; i < 8; i++)
		assert_true(take_is(inbox, FROM, i, sizes[i]));
	assert_false(take_is(inbox, FROM, 8, 1));
	assert_false(put(inbox, FROM, 9, 0));
}

/* What comes after the look is for the next time. */
static void test_reach(void **state)
{
	struct handover_inbox *inbox = *state;
	struct tun_header header;
	uint64_t reach;
	size_t len;

	put(inbox, FROM, 1, 100);
	reach = handover_reach(inbox, FROM);
	put(inbox, FROM, 2, 100);
	assert_non_null(handover_take(inbox, FROM, reach, &header, &len));
	handover_drop(inbox, FROM);
	assert_null(handover_take(inbox, FROM, reach, &header, &len));
	assert_true(take_is(inbox, FROM, 2, 100));
}

/* A full ring takes nothing until something has gone, and loses nothing of what it has. Other rings
 * are their own. */
static void test_full(void **state)
{
	struct handover_inbox *inbox = *state;
	uint32_t count = 0;

	while (put(inbox, FROM, count, 1400))
		count++;
	assert_in_range(count, HANDOVER_BYTES / 1600, HANDOVER_BYTES / 1400);
	assert_false(put(inbox, FROM, count, 1400));
	assert_true(put(inbox, FROM + 1, 7, 1400));
	assert_true(take_is(inbox, FROM, 0, 1400));
	assert_true(put(inbox, FROM, count, 1400));
	assert_false(put(inbox, FROM, count, 1400));
	for (uint32_t i = 1; i <= count; i++)
		assert_true(take_is(inbox, FROM, i, 1400));
	assert_false(take_is(inbox, FROM, 0, 0));
	assert_true(take_is(inbox, FROM + 1, 7, 1400));
}

/* Every place that a slot can begin or end at. */
static void test_around(void **state)
{
	struct handover_inbox *inbox = *state;
	uint32_t put_at = 0, taken = 0;
	static size_t sizes[65536];

	srand(4);
	while (put_at < 60000) {
		size_t size = 1 + (size_t)rand() % (rand() % 8 ? 1500 : TUN_PACKET_MAX);

		sizes[put_at & 0xffff] = size;
		if (put(inbox, FROM, put_at, size))
			put_at++;
		else
			assert_true(put_at > taken);
		/* Now full, now nearly empty. */
		for (int i = rand() % (put_at / 1000 % 2 ? 2 : 4); i > 0 && taken < put_at;
		     i--, taken++)
			assert_true(take_is(inbox, FROM, taken, sizes[taken & 0xffff]));
	}
	for (; taken < put_at; taken++)
		assert_true(take_is(inbox, FROM, taken, sizes[taken & 0xffff]));
	assert_false(take_is(inbox, FROM, 0, 0));
}

/* Once a batch, and only who sleeps. */
static void test_wake(void **state)
{
	struct handover_inbox *inbox = *state;

	put(inbox, 0, 1, 100);
	put(inbox, 0, 2, 100);
	handover_publish(inbox, 0);
	assert_int_equal(woken, 0); /* awake: it looks before it sleeps */
	assert_false(handover_may_sleep(inbox));
	assert_int_equal(handover_collect(inbox), 1);
	assert_int_equal(handover_collect(inbox), 0);
	assert_true(handover_may_sleep(inbox));
	put(inbox, 1, 3, 100);
	handover_publish(inbox, 1);
	put(inbox, 3, 4, 100);
	handover_publish(inbox, 3);
	assert_int_equal(woken, 1);
	handover_wake_up(inbox);
	handover_publish(inbox, 1);
	assert_int_equal(woken, 1);
	assert_int_equal(handover_collect(inbox), 1 << 1 | 1 << 3);
}

/* ---- threads ---- */

enum { PACKETS = 50000, GIVERS = 2 };

struct taker {
	struct handover_inbox *inbox;
	sem_t bell;
	uint32_t next[GIVERS];
};

struct giver {
	struct taker *taker;
	unsigned number;
	pthread_t thread;
};

static void ring_bell(void *user)
{
	struct taker *taker = user;

	sem_post(&taker->bell);
}

static void *give(void *argument)
{
	struct giver *giver = argument;
	struct tun_header header = {0};
	uint8_t packet[1400] = {0};

	for (uint32_t i = 0; i < PACKETS; i++) {
		memcpy(packet, &i, sizeof(i));
		while (!handover_put(giver->taker->inbox, giver->number, &header, packet,
				     64 + i % 1300)) {
			handover_publish(giver->taker->inbox, giver->number);
			sched_yield();
		}
		if (i % 7 == 0 || i + 1 == PACKETS)
			handover_publish(giver->taker->inbox, giver->number);
	}
	return NULL;
}

static void take_all(struct taker *taker, unsigned from)
{
	uint64_t reach = handover_reach(taker->inbox, from);
	struct tun_header header;
	uint8_t *packet;
	size_t len;

	while ((packet = handover_take(taker->inbox, from, reach, &header, &len))) {
		uint32_t number;

		memcpy(&number, packet, sizeof(number));
		assert_int_equal(number, taker->next[from]++);
		assert_int_equal(len, 64 + number % 1300);
		handover_drop(taker->inbox, from);
	}
}

static bool sleep_until_rung(struct taker *taker)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	return sem_timedwait(&taker->bell, &until) == 0;
}

/* All arrive, in order, and nobody sleeps while something is there. */
static void test_threads(void **state)
{
	struct taker taker = {0};
	struct giver givers[GIVERS];

	(void)state;
	sem_init(&taker.bell, 0, 0);
	taker.inbox = handover_new(WORKERS, ring_bell, &taker);
	for (unsigned i = 0; i < GIVERS; i++) {
		givers[i] = (struct giver){&taker, i, 0};
		pthread_create(&givers[i].thread, NULL, give, &givers[i]);
	}
	while (taker.next[0] + taker.next[1] < GIVERS * PACKETS) {
		uint64_t from = handover_collect(taker.inbox);

		for (unsigned i = 0; i < GIVERS; i++) {
			if (from >> i & 1)
				take_all(&taker, i);
		}
		if (from || !handover_may_sleep(taker.inbox))
			continue;
		assert_true(sleep_until_rung(&taker));
		handover_wake_up(taker.inbox);
	}
	for (unsigned i = 0; i < GIVERS; i++)
		pthread_join(givers[i].thread, NULL);
	handover_free(taker.inbox);
	sem_destroy(&taker.bell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, make_inbox, free_inbox),
		cmocka_unit_test_setup_teardown(test_reach, make_inbox, free_inbox),
		cmocka_unit_test_setup_teardown(test_full, make_inbox, free_inbox),
		cmocka_unit_test_setup_teardown(test_around, make_inbox, free_inbox),
		cmocka_unit_test_setup_teardown(test_wake, make_inbox, free_inbox),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
