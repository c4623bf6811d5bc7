/* A reload, asked for by `tunctl reload` or SIGHUP; or, of the files alone that the configuration in
 * force names, because one of them has changed. Then what is wrong with one is a trouble that
 * `tunctl status` shows, and keeps none of the others from what follows 2.
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

/* What was read, for the log. */
static const char whole[] = "configuration", files_alone[] = "changed files";

struct askers {
	struct ctl_request **items;
	size_t count;
};

struct reload {
	struct ctl *ctl;
	struct candidate *in_force; /* NULL: still what the engine started with */
	bool under_way, files_only;
	bool wanted, changed;		 /* once more after this one; of files alone */
	int64_t wanted_us, changed_us;	 /* since when */
	struct config_problems troubles; /* with files that have changed */
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
	if (reload->wanted || reload->changed)
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
		same = memcmp(a->crls[i].list->hash, b->crls[i].list->hash,
			      sizeof(a->crls[i].list->hash)) == 0;
	return same;
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static const struct buf *spki_of(const struct ctl_options *options)
{
	return options->gateway ? &options->gateway->options.spki : &options->client->options.spki;
}

static uint32_t key_generation_of(const struct ctl_options *options)
{
	return options->gateway ? options->gateway->options.key_generation
				: options->client->options.key_generation;
}

/* The files may hold something else under the same names. */
static void compare_contents(struct reload *reload, const struct candidate *candidate)
{
	const struct ctl_options *options = &reload->ctl->options;
	const struct gateway *gateway = options->gateway;
	const struct material *now = &candidate->material;
	STACK_OF(X509) *chain = gateway ? gateway->options.chain : options->client->options.chain;
	const struct buf *spki = spki_of(options);
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

static void log_applied(const struct ctl *ctl, const char *what, const struct config_diff *diff,
			size_t cut, size_t changed)
{
	char text[160];

	log_names("changed", diff->changed, diff->changed_count);
	log_names("needs a restart", diff->restart, diff->restart_count);
	snprintf(text, sizeof(text),
		 "%zu options changed, %zu need a restart; %zu sessions cut, %zu with other rights",
		 diff->changed_count, diff->restart_count, cut, changed);
	log_info("%s read again: %s", what, text);
	event_post(ctl->options.events, &(struct event){.kind = EVENT_RELOADED, .text = text});
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
	if (candidate->config)
		options->config = candidate->config;
	else if (before)
		candidate->config = take(before->config);
	options->material = &candidate->material;
	options->warnings = &candidate->warnings;
	if (!candidate->key_stays)
		parent_link_adopt(options->parent, candidate->key_generation);
	log_set_level(options->config->log_level);
	tell_trust(reload);
	return before;
}

static struct material_renewal make_renewal(const struct reload *reload,
					    const struct candidate *candidate)
{
	const struct config *running = reload->ctl->options.config;

	return (struct material_renewal){
		.config = candidate->config ? candidate->config : running,
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
	log_applied(reload->ctl, whole, &reload->diff, result->cut_count, result->changed_count);
	gateway_reload_result_free(result);
	finish(reload, reply);
}

/* Of files alone nobody waits for an answer, and the next change need not wait until every
 * certificate has been asked about: its own asking takes the place of this one. */
struct files_run {
	struct ctl *ctl;
	struct config_diff diff;
};

static void on_files_settled(struct gateway_reload_result *result, void *user)
{
	struct files_run *run = user;

	log_applied(run->ctl, files_alone, &run->diff, result->cut_count, result->changed_count);
	gateway_reload_result_free(result);
	config_diff_done(&run->diff);
	free(run);
}

static struct files_run *make_run(struct reload *reload)
{
	struct files_run *run = xnew(struct files_run);

	*run = (struct files_run){reload->ctl, reload->diff};
	reload->diff = (struct config_diff){0};
	return run;
}

static void ask_sessions(struct reload *reload)
{
	struct gateway *gateway = reload->ctl->options.gateway;
	struct delay_since since = {
		.cause = reload->files_only ? DELAY_FILE : DELAY_RELOAD,
		.us = reload->started_us,
	};

	if (reload->files_only)
		gateway_reload_ask(gateway, &since, on_files_settled, make_run(reload));
	else
		gateway_reload_ask(gateway, &since, on_settled, reload);
}

/* Takes candidate, unless it returns false with one line in error. */
static bool apply_to_gateway(struct reload *reload, struct candidate *candidate, char *error,
			     size_t size)
{
	struct gateway *gateway = reload->ctl->options.gateway;
	struct material_renewal renewal = make_renewal(reload, candidate);
	struct gateway_reload *prepared = gateway_reload_prepare(gateway, &renewal, error, size);
	struct candidate *before;

	if (!prepared)
		return false;
	gateway_reload_swap(gateway, prepared);
	before = put_in_force(reload, candidate);
	ask_sessions(reload);
	candidate_free(before);
	if (reload->files_only)
		finish(reload, make_reply(reload, CTL_EXIT_DONE));
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
	struct material_renewal renewal = make_renewal(reload, candidate);
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
	log_applied(reload->ctl, reload->files_only ? files_alone : whole, &reload->diff, 0, 0);
	finish(reload, reply);
	return true;
}

/* ---- 1, 2 ---- */

static bool is_stopping(const struct ctl_options *options)
{
	return options->gateway ? options->gateway->stopping : options->client->stopping;
}

static void apply(struct reload *reload, struct candidate *candidate)
{
	const struct ctl_options *options = &reload->ctl->options;
	char error[512];
	bool applied = options->gateway ? apply_to_gateway(reload, candidate, error, sizeof(error))
					: apply_to_client(reload, candidate, error, sizeof(error));

	if (applied)
		return;
	refuse_text(reload, options->config->path, error);
	candidate_free(candidate);
}

/* Then nothing of it is in force. */
static bool is_refused(struct reload *reload, struct candidate *candidate)
{
	if (candidate->problems.count == 0)
		return false;
	refuse(reload, &candidate->problems);
	candidate_free(candidate);
	return true;
}

static void on_candidate(struct candidate *candidate, void *user)
{
	struct reload *reload = user;
	const struct ctl_options *options = &reload->ctl->options;

	if (is_stopping(options)) {
		refuse_text(reload, options->config->path, "tund is stopping");
		candidate_free(candidate);
		return;
	}
	if (is_refused(reload, candidate))
		return;
	config_diff_find(options->config, candidate->config, &reload->diff);
	compare_contents(reload, candidate);
	config_diff_keep(candidate->config, options->config);
	config_diff_check(candidate->config, &candidate->problems);
	if (is_refused(reload, candidate))
		return;
	config_problems_done(&reload->troubles);
	apply(reload, candidate);
}

/* ---- 1, 2: of files alone ---- */

static bool was_told(const struct config_problems *told, const char *text)
{
	for (size_t i = 0; i < told->count; i++) {
		if (strcmp(told->items[i].text, text) == 0)
			return true;
	}
	return false;
}

/* Each is logged once, however often other files change meanwhile. */
static void take_troubles(struct reload *reload, const struct candidate *candidate)
{
	struct config_problems troubles = {0};

	for (size_t i = 0; i < candidate->problems.count; i++) {
		const struct config_problem *problem = &candidate->problems.items[i];
		const char *text;

		config_problem(&troubles, problem->file, problem->line,
			       "%s; what is in force stays", problem->text);
		text = troubles.items[i].text;
		if (!was_told(&reload->troubles, text))
			log_error("%s:%u: %s", problem->file, problem->line, text);
	}
	if (reload->troubles.count && !troubles.count)
		log_info("the files are in order again");
	config_problems_done(&reload->troubles);
	reload->troubles = troubles;
}

static void get_basis(struct candidate_basis *ret, void *user)
{
	const struct ctl_options *options = &((struct reload *)user)->ctl->options;

	*ret = (struct candidate_basis){
		.config = options->config,
		.material = *options->material,
		.spki = spki_of(options),
		.key_generation = key_generation_of(options),
	};
}

static void on_files(struct candidate *candidate, void *user)
{
	struct reload *reload = user;
	bool is_of_use = candidate->material.leaf && !is_stopping(&reload->ctl->options);

	if (is_of_use) {
		take_troubles(reload, candidate);
		compare_contents(reload, candidate);
	}
	if (reload->diff.changed_count) {
		apply(reload, candidate);
		return;
	}
	candidate_free(candidate);
	finish(reload, make_reply(reload, CTL_EXIT_DONE));
}

/* ---- 1 ---- */

static void begin(struct reload *reload)
{
	struct ctl_options *options = &reload->ctl->options;

	reload->under_way = true;
	reload->files_only = !reload->wanted;
	reload->wanted = reload->changed = false;
	reload->started_us = reload->files_only ? reload->changed_us : reload->wanted_us;
	if (reload->files_only) {
		candidate_ask_files(options->parent, options->config, get_basis, on_files, reload);
		return;
	}
	reload->askers = reload->next;
	reload->next = (struct askers){0};
	candidate_ask(options->parent, options->config, get_basis, on_candidate, reload);
}

static void ask(struct reload *reload, int64_t since_us)
{
	reload->wanted = true;
	reload->wanted_us = since_us;
	if (!reload->under_way)
		begin(reload);
}

static void on_news(enum parent_msg_news news, int64_t since_us, void *user)
{
	struct reload *reload = user;

	if (news != PARENT_MSG_CHANGED) {
		ask(reload, since_us);
		return;
	}
	if (!reload->changed)
		reload->changed_us = since_us;
	reload->changed = true;
	if (!reload->under_way)
		begin(reload);
}

void reload_begin(struct ctl_request *request, const json_t *message)
{
	struct reload *reload = ctl_of(request)->reload;

	(void)message;
	askers_add(&reload->next, request);
	ask(reload, clock_now_us());
}

struct reload *reload_new(struct ctl *ctl)
{
	struct reload *reload = xnew(struct reload);

	reload->ctl = ctl;
	ctl->options.troubles = &reload->troubles;
	parent_link_on_news(ctl->options.parent, on_news, reload);
	return reload;
}

void reload_free(struct reload *reload)
{
	if (!reload)
		return;
	askers_done(&reload->askers);
	askers_done(&reload->next);
	config_diff_done(&reload->diff);
	config_problems_done(&reload->troubles);
	candidate_free(reload->in_force);
	free(reload);
}
