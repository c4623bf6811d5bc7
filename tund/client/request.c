#include "client/request.h"

#include <stdio.h>
#include <string.h>

#include "version.h"
#include "wire/tunnel_params.h"

static const char agent[] = "OpenConnect VPN Agent (tund) v" TUND_VERSION;

void request_login(struct buf *out, const char *host)
{
	struct buf body = {0};

	buf_print(&body,
		  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		  "<config-auth client=\"vpn\" type=\"init\" aggregate-auth-version=\"2\">"
		  "<version who=\"vpn\">%s</version><device-id>linux-64</device-id>"
		  "<group-access>https://%s/</group-access></config-auth>\n",
		  TUND_VERSION, host);
	buf_print(out,
		  "POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\n"
		  "Accept-Encoding: identity\r\nX-Transcend-Version: 1\r\nX-Aggregate-Auth: 1\r\n"
		  "Content-Type: application/xml; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
		  host, agent, body.len);
	buf_append(out, body.data, body.len);
	buf_done(&body);
}

void request_connect(struct buf *out, const struct request_tunnel *tunnel)
{
	struct tunnel_offer offer = {
		.base_mtu = tunnel->path_mtu,
		.want4 = true,
		.want6 = true,
		.full6 = true,
		.psk = tunnel->want_dtls,
	};

	snprintf(offer.agent, sizeof(offer.agent), "%s", agent);
	snprintf(offer.hostname, sizeof(offer.hostname), "%s", tunnel->hostname);
	snprintf(offer.cookie, sizeof(offer.cookie), "%s", tunnel->cookie);
	tunnel_params_write_offer(out, &offer, tunnel->host, tunnel->held4, tunnel->held6);
	explicit_bzero(&offer, sizeof(offer));
}
