/* Order: no privileges ──▶ the store's sandbox ──▶ the store's thread ──▶ the engine's sandbox ──▶
 * every other thread ──▶ the loop. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "client/client.h"
#include "ctl/ctl.h"
#include "gateway/gateway.h"
#include "key/remote.h"
#include "sys/child.h"
#include "sys/parent_link.h"
#include "sys/privs.h"
#include "sys/sandbox.h"
#include "sys/tun.h"
#include "sys/udp.h"

struct engine {
	struct parent_kit *kit;
	uv_loop_t loop;
	struct parent_link *link;
	uv_poll_t parent;
	uv_signal_t terminate, interrupt;
	struct gateway *gateway;
	struct client *client;
	struct ctl *ctl;
	struct event_hook events;
	bool stopping;
};

static int enter_sandbox(void)
{
	return sandbox_load(SANDBOX_ENGINE);
}

_Static_assert((int)PARENT_WORKERS_MAX == (int)WORKER_CREW_MAX, "who opens, and who uses");

static int start_gateway(struct engine *engine, char *error, size_t size)
{
	const struct parent_kit *kit = engine->kit;
	struct gateway_options options = {
		.config = kit->config,
		.trust = kit->material.trust,
		.leaf = kit->material.leaf,
		.chain = kit->material.chain,
		.spki = kit->spki,
		.worker_count = kit->worker_count,
		.tun_offloads = kit->tun_offloads,
		.listener_count = kit->port_count,
		.key_sockets = kit->key_sockets,
		.key_socket_count = kit->key_socket_count,
		.own4 = kit->own4,
		.own6 = kit->own6,
		.parent = engine->link,
		.events = &engine->events,
		.enter_engine = enter_sandbox,
		.loop = &engine->loop,
	};

	memcpy(options.tun_fds, kit->tuns, sizeof(options.tun_fds));
	for (size_t i = 0; i < kit->port_count; i++) {
		struct gateway_socket *socket = &options.listeners[i];

		socket->at = kit->ports[i].at;
		socket->tcp = kit->ports[i].tcp;
		memcpy(socket->udp, kit->ports[i].udp, sizeof(socket->udp));
		socket->udp_offloads = kit->ports[i].udp_offloads;
	}
	return gateway_start(&options, &engine->gateway, error, size);
}

static int start_client(struct engine *engine, char *error, size_t size)
{
	const struct parent_kit *kit = engine->kit;
	struct client_options options = {
		.config = kit->config,
		.trust = kit->material.trust,
		.leaf = kit->material.leaf,
		.chain = kit->material.chain,
		.spki = kit->spki,
		.tun_fd = kit->tuns[0],
		.tun_offloads = kit->tun_offloads,
		.key_socket = kit->key_sockets[0],
		.hostname = kit->hostname,
		.parent = engine->link,
		.events = &engine->events,
		.fetch = kit->fetch,
		.enter_engine = enter_sandbox,
		.loop = &engine->loop,
	};

	for (size_t i = 0; i < kit->port_count; i++)
		options.sockets[options.socket_count++] = (struct worker_udp){
			kit->ports[i].udp[0],
			kit->ports[i].udp_offloads,
			kit->ports[i].at.any.sa_family == AF_INET6 ? 6 : 4,
		};
	return client_start(&options, &engine->client, error, size);
}

static void on_stopped(void *user)
{
	struct engine *engine = user;

	uv_stop(&engine->loop);
}

static void stop(struct engine *engine)
{
	if (engine->stopping)
		return;
	engine->stopping = true;
	log_info("stopping");
	event_post(&engine->events, &(struct event){.kind = EVENT_STOPPING});
	if (engine->gateway)
		gateway_stop(engine->gateway, on_stopped, engine);
	else
		client_stop(engine->client, on_stopped, engine);
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	stop(handle->data);
}

/* The parent's end means ours. */
static void on_parent(uv_poll_t *poll, int status, int events)
{
	struct engine *engine = poll->data;

	(void)events;
	if (status < 0 || !parent_link_take(engine->link)) {
		log_error("the parent process has ended");
		_exit(1);
	}
}

static void watch(struct engine *engine, int socket)
{
	engine->link = parent_link_new(socket);
	uv_poll_init(&engine->loop, &engine->parent, socket);
	engine->parent.data = engine;
	uv_poll_start(&engine->parent, UV_READABLE | UV_DISCONNECT, on_parent);
	uv_signal_init(&engine->loop, &engine->terminate);
	engine->terminate.data = engine;
	uv_signal_start(&engine->terminate, on_signal, SIGTERM);
	uv_signal_init(&engine->loop, &engine->interrupt);
	engine->interrupt.data = engine;
	uv_signal_start(&engine->interrupt, on_signal, SIGINT);
}

/* Slower without, and otherwise the same: somebody may wonder. */
static void log_offloads(const struct parent_kit *kit)
{
	unsigned tun = kit->tun_offloads, udp = kit->port_count ? kit->ports[0].udp_offloads : 0;
	bool tso = (tun & TUN_OFFLOAD_TSO4) && (tun & TUN_OFFLOAD_TSO6);
	bool uso = (tun & TUN_OFFLOAD_USO4) && (tun & TUN_OFFLOAD_USO6);

	if (tso && uso && (udp & UDP_OFFLOAD_GSO) && (udp & UDP_OFFLOAD_GRO))
		return;
	log_info("this kernel lacks offloads, going on without:%s%s%s%s", tso ? "" : " TUN TCP",
		 uso ? "" : " TUN UDP", udp & UDP_OFFLOAD_GSO ? "" : " UDP GSO",
		 udp & UDP_OFFLOAD_GRO ? "" : " UDP GRO");
}

static int drop(const struct parent_kit *kit)
{
	int r = privs_drop_all(kit->uid, kit->gid);

	if (r < 0) {
		log_error("cannot drop privileges: %s", strerror(-r));
		return r;
	}
	r = child_die_with_parent();
	if (r < 0)
		return r;
	r = remote_provider_load();
	if (r < 0) {
		log_error("cannot load the key provider into OpenSSL");
		return r;
	}
	ctl_prepare();
	r = sandbox_load(SANDBOX_STORE);
	if (r < 0)
		log_error("cannot load the sandbox: %s", strerror(-r));
	return r;
}

/* What the others have closed, too, has its end here. */
static void close_loop(struct engine *engine)
{
	uv_close((uv_handle_t *)&engine->parent, NULL);
	uv_close((uv_handle_t *)&engine->terminate, NULL);
	uv_close((uv_handle_t *)&engine->interrupt, NULL);
	uv_run(&engine->loop, UV_RUN_NOWAIT);
	uv_loop_close(&engine->loop);
}

int engine_run(int socket, void *kit)
{
	struct engine engine = {.kit = kit};
	const struct config *config = engine.kit->config;
	struct ctl_options ctl = {
		.config = config,
		.warnings = engine.kit->warnings,
		.material = &engine.kit->material,
		.key_use = engine.kit->key_use,
		.listen = engine.kit->control,
		.observers = engine.kit->observers,
		.admins = engine.kit->admins,
		.loop = &engine.loop,
	};
	char error[512] = "";
	int r;

	log_setup(config->log_level, config->log_json, "engine");
	if (drop(engine.kit) < 0)
		return 1;
	log_offloads(engine.kit);
	uv_loop_init(&engine.loop);
	watch(&engine, socket);
	if (config->role == CONFIG_GATEWAY)
		r = start_gateway(&engine, error, sizeof(error));
	else
		r = start_client(&engine, error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		return 1;
	}
	ctl.gateway = engine.gateway;
	ctl.client = engine.client;
	ctl.events = &engine.events;
	ctl.parent = engine.link;
	engine.ctl = ctl_start(&ctl);
	if (engine.gateway)
		log_info("gateway ready");
	uv_run(&engine.loop, UV_RUN_DEFAULT);
	gateway_free(engine.gateway);
	client_free(engine.client);
	ctl_free(engine.ctl);
	parent_link_free(engine.link);
	close_loop(&engine);
	log_info("stopped");
	return 0;
}
