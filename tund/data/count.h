#pragma once
/* What a worker counts: one row a counter, its name the one users see. Written by one thread; main
 * gets copies by message. */

#include <stdint.h>

#include "wire/ip.h"

#define COUNT_TABLE(X)                                                                             \
	/* traffic */                                                                              \
	X(TUN_READS, "tun_reads")                                                                  \
	X(TUN_WRITES, "tun_writes")                                                                \
	X(TUN_SUPER_RX, "tun_super_rx") /* packets of several segments, from the kernel */         \
	X(TUN_SUPER_TX, "tun_super_tx") /* and to it */                                            \
	X(UDP_SENDS, "udp_sends")                                                                  \
	X(UDP_DATAGRAMS_TX, "udp_datagrams_tx")                                                    \
	X(UDP_GSO_TX, "udp_gso_tx") /* sends of more than one datagram */                          \
	X(UDP_RECEIVES, "udp_receives")                                                            \
	X(UDP_DATAGRAMS_RX, "udp_datagrams_rx")                                                    \
	X(UDP_GRO_RX, "udp_gro_rx") /* receives of more than one datagram */                       \
	X(UDP_HANDSHAKES_RX, "udp_handshakes_rx")                                                  \
	X(TLS_RECORDS_TX, "tls_records_tx")                                                        \
	X(TLS_RECORDS_RX, "tls_records_rx")                                                        \
	X(DTLS_ASSOCIATIONS, "dtls_associations")                                                  \
	X(MSS_CLAMPED, "mss_clamped")                                                              \
	X(TOO_BIG_SENT, "too_big_sent")                                                            \
	X(HANDED_OVER, "handed_over") /* to the worker that has the flow */                        \
	X(FLOWS_MOVED, "flows_moved") /* here, from another worker */                              \
	COUNT_DROPS(X)

/* Packets and datagrams that were dropped, by reason. First what is inside the tunnel, in either
 * direction, in the order in which it is judged: down to "martian" (wire/ip_check) no rule can
 * allow it; the gateway itself and other devices are hosts like any, for the rules to allow. Then
 * what there was no room for; then what came from outside. */
#define COUNT_DROPS(X)                                                                             \
	X(DROP_MALFORMED, "malformed")	   /* headers, options, segments that cannot be */         \
	X(DROP_NOT_IP, "not-ip")	   /* neither IPv4 nor IPv6 */                             \
	X(DROP_CUT_SHORT, "cut-short")	   /* ends within the IP header */                         \
	X(DROP_LENGTH, "lying-length")	   /* IP's length is not the packet's; jumbograms */       \
	X(DROP_TRANSPORT, "bad-transport") /* TCP, UDP, ICMP header cut, or its length lies */     \
	X(DROP_FRAGMENT, "bad-fragment")   /* tiny, overlapping, endless */                        \
	X(DROP_ROUTED, "source-routed")	   /* IPv4 option or IPv6 routing header */                \
	X(DROP_MULTICAST, "multicast")	   /* to "martian": source or destination */               \
	X(DROP_BROADCAST, "broadcast")	   /* 255.255.255.255 */                                   \
	X(DROP_LOOPBACK, "loopback")                                                               \
	X(DROP_LINK_LOCAL, "link-local")                                                           \
	X(DROP_UNSPECIFIED, "unspecified")                                                         \
	X(DROP_MARTIAN, "martian")	 /* 0/8, 240/4, IPv6 with IPv4 embedded */                 \
	X(DROP_NO_SESSION, "no-session") /* nobody holds the inner destination */                  \
	X(DROP_SOURCE, "foreign-source") /* its addresses are not those of the two ends */         \
	X(DROP_ACCESS, "no-access")	 /* no rule lets it pass */                                \
	X(DROP_TOO_BIG, "too-big")                                                                 \
	X(DROP_QUEUE_FULL, "queue-full") /* the socket takes no more */                            \
	X(DROP_CONGESTED, "congested")	 /* a stream's, so that it slows down: others wait */      \
	X(DROP_TUN_FULL, "tun-full")                                                               \
	X(DROP_HANDOVER_FULL, "handover-full") /* the worker that has the flow is behind */        \
	X(DROP_BACKLOG_FULL, "backlog-full")   /* too many shake hands at once */                  \
	X(DROP_NO_CHANNEL, "no-channel")       /* the session is away */                           \
	X(DROP_RECORD_SHORT, "truncated")                                                          \
	X(DROP_RECORD_TYPE, "not-dtls")                                                            \
	X(DROP_RECORD_VERSION, "wrong-version")                                                    \
	X(DROP_RECORD_EPOCH, "wrong-epoch")                                                        \
	X(DROP_RECORD_LENGTH, "oversized") /* longer than its datagram or than a record is */      \
	X(DROP_RECORD_REPLAY, "replayed")                                                          \
	X(DROP_RECORD_FORGED, "forged")                                                            \
	X(DROP_UNKNOWN_PEER, "unknown-peer") /* no association with this address */                \
	X(DROP_UNKNOWN_APP_ID, "unknown-app-id")                                                   \
	X(DROP_HELLO_RATE, "hello-rate")                                                           \
	X(DROP_FRAME, "bad-frame") /* unknown or unwelcome frame type */

enum count {
#define COUNT_ENUM(name, text) COUNT_##name,
	COUNT_TABLE(COUNT_ENUM)
#undef COUNT_ENUM
		COUNT_MAX,
};

enum { COUNT_FIRST_DROP = COUNT_DROP_MALFORMED };

struct counts {
	uint64_t of[COUNT_MAX];
};

const char *count_name(enum count count);
/* The drop that an error of wire/ip is. */
enum count count_of_ip(enum ip_error error);
