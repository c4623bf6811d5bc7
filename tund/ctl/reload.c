/* A reload, asked for by `tunctl reload` or SIGHUP:
 *
 *	1  begin        one at a time: who asks while one is under way shares the next
 *	2  on_candidate the file and all that it names, read again by the parent and checked by the
 *			same code as at the start; the key holder has the new key. Nothing is in
 *			force. A problem ends it here, and nothing has changed
 *	3  compare      which options have changed, by their text or by what is in the files they
 *			name; those that need a restart keep the value they run with, and the rest
 *			must fit them
 *	4  prepare      TLS contexts: the last that can fail
 *	5  swap         in force for whoever comes from now on. The parent takes its share (adopt)
 *	6  ask          every session, or the gateway in use, about the new trust and rules
 *	7  on_settled   no worker goes by the old rules any more: the answer
 *
 * 3 to 6 are one turn of the loop, but for certificates (gateway_reload.c): nothing is half old, half
 * new. */
#include "ctl/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "client/client_reload.h"
#include "config/config_diff.h"
#include "ctl/candidate.h"
#include "ctl/describe.h"
#include "gateway/gateway_reload.h"
#include "wire/ctl_msg.h"

struct askers {
	struct ctl_request **items;
	size_t count;
};

struct reload {
	struct ctl *ctl;
	struct candidate *in_force; /* NULL: still what the engine started with */
	bool under_way, wanted;	    /* wanted: once more after this one */
	struct askers askers, next;
	int64_t started_us;
	struct config_diff diff;
};

static void begin(struct reload *reload);

static void askers_add(struct askers *askers, struct ctl_request *request)
{
	askers->items = xalloc_grow(askers->items, askers->count + 1, sizeof(*askers->items));
	askers->items[askers->count++] = request;
}

static void askers_done(struct askers *askers)
{
	free(askers->items);
	*askers = (struct askers){0};
}

/* ---- answers ---- */

static json_t *make_reply(const struct reload *reload, int exit_status)
{
	json_t *reply = ctl_msg_reply("reload", exit_status);

	json_object_set_new(reply, "applied", json_boolean(exit_status == CTL_EXIT_DONE));
	json_object_set_new(reply, "took_s",
			    json_real((double)(clock_now_us() - reload->started_us) /
				      (double)CLOCK_SECOND_US));
	return reply;
}

/* Takes reply; it goes to all who asked. Whoever asked meanwhile gets the next. */
static void finish(struct reload *reload, json_t *reply)
{
	for (size_t i = 0; i < reload->askers.count; i++)
		ctl_answer(reload->askers.items[i], json_incref(reply));
	json_decref(reply);
	askers_done(&reload->askers);
	config_diff_done(&reload->diff);
	reload->under_way = false;
	if (reload->wanted)
		begin(reload);
}

static json_t *describe_problems(const struct config_problems *problems)
{
	json_t *array = json_array();

	for (size_t i = 0; i < problems->count; i++) {
		const struct config_problem *problem = &problems->items[i];

		json_array_append_new(array, json_pack("{s:o, s:I, s:o}", "file",
						       describe_text(problem->file), "line",
						       (json_int_t)problem->line, "text",
						       describe_text(problem->text)));
	}
	return array;
}

static void refuse(struct reload *reload, const struct config_problems *problems)
{
	json_t *reply = make_reply(reload, CTL_EXIT_REFUSED);

	for (size_t i = 0; i < problems->count; i++)
		log_error("%s:%u: %s", problems->items[i].file, problems->items[i].line,
			  problems->items[i].text);
	log_error("reload refused: %zu problem%s, nothing has changed", problems->count,
		  problems->count == 1 ? "" : "s");
	json_object_set_new(reply, "problems", describe_problems(problems));
	finish(reload, reply);
}

static void refuse_text(struct reload *reload, const char *file, const char *text)
{
	struct config_problems problems = {0};

	config_problem(&problems, file, 0, "%s", text);
	refuse(reload, &problems);
	config_problems_done(&problems);
}

/* ---- 3: what has changed ---- */

static bool same_stack(STACK_OF(X509) * a, STACK_OF(X509) * b)
{
	bool same = sk_X509_num(a) == sk_X509_num(b);

	for (int i = 0; same && i < sk_X509_num(a); i++)
		same = X509_cmp(sk_X509_value(a, i), sk_X509_value(b, i)) == 0;
	return same;
}

static bool same_authorities(const struct trust *a, const struct trust *b)
{
	bool same = a->ca_count == b->ca_count;

	for (size_t i = 0; same && i < a->ca_count; i++)
		same = X509_cmp(a->cas[i].cert, b->cas[i].cert) == 0;
	return same;
}

static bool same_lists(const struct trust *a, const struct trust *b)
{
	bool same = a->crl_count == b->crl_count;

	for (size_t i = 0; same && i < a->crl_count; i++)
		same = X509_CRL_match(a->crls[i].crl, b->crls[i].crl) == 0;
	return same;
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The files may hold something else under the same names. */
static void compare_contents(struct reload *reload, const struct candidate *candidate)
{
	const struct ctl_options *options = &reload->ctl->options;
	const struct gateway *gateway = options->gateway;
	const struct client *client = options->client;
	const struct material *now = &candidate->material;
	STACK_OF(X509) *chain = gateway ? gateway->options.chain : client->options.chain;
	const struct buf *spki = gateway ? &gateway->options.spki : &client->options.spki;
	const struct trust *trust = ctl_trust(reload->ctl);

	if (X509_cmp(ctl_leaf(reload->ctl), now->leaf) != 0 || !same_stack(chain, now->chain))
		config_diff_add(&reload->diff, "identity.certificate");
	if (!same_bytes(spki, &candidate->spki))
		config_diff_add(&reload->diff, "identity.key");
	if (!same_authorities(trust, now->trust))
		config_diff_add(&reload->diff, "trust.ca");
	if (!same_lists(trust, now->trust))
		config_diff_add(&reload->diff, "trust.crl");
}

static void log_names(const char *what, char *const *names, size_t count)
{
	struct buf line = {0};

	for (size_t i = 0; i < count; i++)
		buf_print(&line, "%s%s", i ? ", " : "", names[i]);
	if (count)
		log_info("%s: %.*s", what, (int)line.len, (const char *)line.data);
	buf_done(&line);
}

static json_t *describe_names(char *const *names, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, describe_text(names[i]));
	return array;
}

static json_t *make_applied(const struct reload *reload)
{
	const struct config_diff *diff = &reload->diff;
	json_t *reply = make_reply(reload, CTL_EXIT_DONE);

	json_object_set_new(reply, "changed", describe_names(diff->changed, diff->changed_count));
	json_object_set_new(reply, "restart", describe_names(diff->restart, diff->restart_count));
	describe_warnings(reload->ctl, reply);
	return reply;
}

static void log_applied(const struct reload *reload, size_t cut, size_t changed)
{
	const struct config_diff *diff = &reload->diff;
	char text[160];

	log_names("changed", diff->changed, diff->changed_count);
	log_names("needs a restart", diff->restart, diff->restart_count);
	snprintf(text, sizeof(text),
		 "%zu options changed, %zu need a restart; %zu sessions cut, %zu with other rights",
		 diff->changed_count, diff->restart_count, cut, changed);
	log_info("configuration read again: %s", text);
	event_post(reload->ctl->options.events,
		   &(struct event){.kind = EVENT_RELOADED, .text = text});
}

/* Before the sessions that it costs. Every reload makes a snapshot; not every one holds something
 * new. */
static void tell_trust(const struct reload *reload)
{
	static const char section[] = "trust.";

	for (size_t i = 0; i < reload->diff.changed_count; i++) {
		if (strncmp(reload->diff.changed[i], section, strlen(section)) != 0)
			continue;
		event_post(reload->ctl->options.events,
			   &(struct event){.kind = EVENT_TRUST_CHANGED});
		return;
	}
}

/* The parent takes its share; what others look at here is the new. Returns what was in force, still
 * in use until every session has been asked; NULL: it is not ours to free. */
static struct candidate *put_in_force(struct reload *reload, struct candidate *candidate)
{
	struct ctl_options *options = &reload->ctl->options;
	struct candidate *before = reload->in_force;

	reload->in_force = candidate;
	options->config = candidate->config;
	options->material = &candidate->material;
	options->warnings = &candidate->warnings;
	parent_link_adopt(options->parent, candidate->key_generation);
	log_set_level(candidate->config->log_level);
	tell_trust(reload);
	return before;
}

static struct material_renewal make_renewal(const struct candidate *candidate)
{
	return (struct material_renewal){
		.config = candidate->config,
		.material = &candidate->material,
		.spki = &candidate->spki,
		.key_generation = candidate->key_generation,
	};
}

/* ---- 4 to 7: a gateway ---- */

static json_t *describe_sessions(const struct gateway_reload_session *sessions, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct gateway_reload_session *session = &sessions[i];

		json_array_append_new(array,
				      json_pack("{s:I, s:o, s:o, s:s}", "id",
						(json_int_t)session->id, "identity",
						describe_text(session->identity), "peer_address",
						describe_endpoint(&session->peer), "reason",
						reason_word(session->reason)));
	}
	return array;
}

static void on_settled(struct gateway_reload_result *result, void *user)
{
	struct reload *reload = user;
	json_t *reply = make_applied(reload);

	json_object_set_new(reply, "cut", describe_sessions(result->cut, result->cut_count));
	json_object_set_new(reply, "rights_changed",
			    describe_sessions(result->changed, result->changed_count));
	log_applied(reload, result->cut_count, result->changed_count);
	gateway_reload_result_free(result);
	finish(reload, reply);
}

/* Takes candidate, unless it returns false with one line in error. */
static bool apply_to_gateway(struct reload *reload, struct candidate *candidate, char *error,
			     size_t size)
{
	struct gateway *gateway = reload->ctl->options.gateway;
	struct material_renewal renewal = make_renewal(candidate);
	struct gateway_reload *prepared = gateway_reload_prepare(gateway, &renewal, error, size);
	struct candidate *before;

	if (!prepared)
		return false;
	gateway_reload_swap(gateway, prepared);
	before = put_in_force(reload, candidate);
	gateway_reload_ask(gateway, on_settled, reload);
	candidate_free(before);
	return true;
}

/* ---- 4 to 7: a client ---- */

static json_t *describe_left(const struct client_reload_result *result)
{
	if (result->reason == REASON_NONE)
		return json_null();
	return json_pack("{s:o, s:s, s:o}", "gateway", describe_text(result->gateway), "reason",
			 reason_word(result->reason), "text", describe_text(result->text));
}

static bool apply_to_client(struct reload *reload, struct candidate *candidate, char *error,
			    size_t size)
{
	struct client *client = reload->ctl->options.client;
	struct material_renewal renewal = make_renewal(candidate);
	struct client_reload *prepared = client_reload_prepare(client, &renewal, error, size);
	struct client_reload_result result;
	struct candidate *before;
	json_t *reply;

	if (!prepared)
		return false;
	client_reload_swap(client, prepared);
	before = put_in_force(reload, candidate);
	client_reload_ask(client, prepared, &result);
	candidate_free(before);
	reply = make_applied(reload);
	json_object_set_new(reply, "left", describe_left(&result));
	log_applied(reload, 0, 0);
	finish(reload, reply);
	return true;
}

/* ---- 1, 2 ---- */

static bool is_stopping(const struct ctl_options *options)
{
	return options->gateway ? options->gateway->stopping : options->client->stopping;
}

static void on_candidate(struct candidate *candidate, void *user)
{
	struct reload *reload = user;
	const struct ctl_options *options = &reload->ctl->options;
	char error[512];
	bool applied;

	if (is_stopping(options)) {
		refuse_text(reload, options->config->path, "tund is stopping");
		candidate_free(candidate);
		return;
	}
	if (candidate->problems.count) {
		refuse(reload, &candidate->problems);
		candidate_free(candidate);
		return;
	}
	config_diff_find(options->config, candidate->config, &reload->diff);
	compare_contents(reload, candidate);
	config_diff_keep(candidate->config, options->config);
	config_diff_check(candidate->config, &candidate->problems);
	if (candidate->problems.count) {
		refuse(reload, &candidate->problems);
		candidate_free(candidate);
		return;
	}
	applied = options->gateway ? apply_to_gateway(reload, candidate, error, sizeof(error))
				   : apply_to_client(reload, candidate, error, sizeof(error));
	if (applied)
		return;
	refuse_text(reload, options->config->path, error);
	candidate_free(candidate);
}

static void begin(struct reload *reload)
{
	struct ctl_options *options = &reload->ctl->options;

	reload->under_way = true;
	reload->wanted = false;
	reload->askers = reload->next;
	reload->next = (struct askers){0};
	reload->started_us = clock_now_us();
	candidate_ask(options->parent, options->config, on_candidate, reload);
}

static void ask(struct reload *reload)
{
	reload->wanted = true;
	if (!reload->under_way)
		begin(reload);
}

static void on_hangup(void *user)
{
	ask(user);
}

void reload_begin(struct ctl_request *request, const json_t *message)
{
	struct reload *reload = ctl_of(request)->reload;

	(void)message;
	askers_add(&reload->next, request);
	ask(reload);
}

struct reload *reload_new(struct ctl *ctl)
{
	struct reload *reload = xnew(struct reload);

	reload->ctl = ctl;
	parent_link_on_hangup(ctl->options.parent, on_hangup, reload);
	return reload;
}

void reload_free(struct reload *reload)
{
	if (!reload)
		return;
	askers_done(&reload->askers);
	askers_done(&reload->next);
	config_diff_done(&reload->diff);
	candidate_free(reload->in_force);
	free(reload);
}
