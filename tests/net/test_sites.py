"""Site links: networks behind a client, for years.

    berlin_lan 10.20.0.10, fd20::10 --- berlin (tund client) ---+
    paris_lan  10.30.0.10, fd30::10 --- paris  (tund client) ---+--- wan --- gw (tund) --- corp
    laptop                          (tund client)            ---+
"""

import ctypes
import ipaddress
import json
import os
import random
import re
import select
import signal
import socket
import struct
import time

import pytest

import traffic
from lab import CORP, CORP_NETS, GATEWAY_NAME, GATEWAY_V4, run, wait_until
from peers import TUNCTL, Openconnect, Tund, client_config, gateway_config
from pki import SERVER_AUTH
from rawpeer import DISCONNECT, Peer, connected

BERLIN = {4: "10.20.0.10", 6: "fd20::10"}
PARIS = {4: "10.30.0.10", 6: "fd30::10"}
BERLIN_NETS = ["10.20.0.0/16", "fd20::/48"]
PARIS_NETS = ["10.30.0.0/16", "fd30::/48"]
POOLS = ["10.99.0.0/24", "fd99::/64"]
ANY = ["0.0.0.0/0 any", "::/0 any"]


def rules(*prefixes):
    return [f"{prefix} any" for prefix in prefixes]


def add_site(config, name, networks, **options):
    """A site block for the certificate of that DNS name."""
    return config.set(f'site "{name}"', match=[f"dns:{name}.sites.corp.example"],
                      networks=networks, **{"allow": ANY, "accept": ANY, **options})


def hq_config(corp, **gateway):
    """A gateway whose devices have rights by block, and berlin's link."""
    config = gateway_config(corp, **gateway)
    config.remove('access "everyone"')
    config.set('access "staff"', match=["ou=Staff"], allow=ANY, accept=ANY)
    return add_site(config, "berlin", BERLIN_NETS)


def site_files(corp, name):
    return corp.device(name, dns=[f"{name}.sites.corp.example"])


def site_client(lab, corp, name, **client):
    return Tund(lab, lab.ns[name], client_config(corp, site_files(corp, name), **client))


def routes_to(ns, family, prefix):
    """Interfaces and metrics of the routes to exactly this prefix: [("tund0", 20)]."""
    flag = "-4" if family == 4 else "-6"
    found = json.loads(ns.ip("-j", flag, "route", "show", "exact", prefix) or "[]")
    return sorted((route["dev"], route.get("metric", 0)) for route in found)


def site_routes(lab, networks=BERLIN_NETS):
    """The networks that the gateway routes into its device."""
    return [net for net in networks
            if ("tund0", 20) in routes_to(lab.gw, 6 if ":" in net else 4, net)]


def wait_routed(lab, networks=BERLIN_NETS, wanted=None, timeout=10):
    wanted = networks if wanted is None else wanted
    wait_until(lambda: site_routes(lab, networks) == wanted, timeout, f"the routes {wanted}")


def watch_routes(ns):
    """Hears of every change from now on."""
    monitor = ns.spawn("monitor", ["ip", "monitor", "route"])

    def hears():
        ns.ip("route", "replace", "blackhole", "192.0.2.99", "metric", str(random.randrange(1, 99999)))
        return monitor.log()

    wait_until(hears, 10, "a change that the monitor hears of")
    return monitor


@pytest.fixture
def branch(make_lab, make_corp):
    """A lab with berlin's network behind it; its corporation."""
    lab = make_lab(laptops=("berlin",))
    lab.add_lan("berlin", "10.20.0", "fd20")
    return lab, make_corp(lab)


def start_link(lab, corp, client=None, **gateway):
    hq = Tund(lab, lab.gw, hq_config(corp, **gateway)).start()
    return hq, site_client(lab, corp, "berlin", **(client or {})).start()


def fetch(ns, address, digest):
    """The large file of the web server there, whole."""
    copy = ns.lab.dir / f"copy-{ns.role}-{time.monotonic_ns()}"
    try:
        traffic.curl(ns, "-o", str(copy), f"http://{traffic.host(address)}/blob")
        assert traffic.file_digest(copy) == digest
    finally:
        copy.unlink(missing_ok=True)


def start_web(ns, megabytes=3):
    """Its file's SHA-256."""
    web = traffic.start_endpoint(ns, "web", port=80, size=megabytes * 1_000_000)
    return web.wait_for(r"^ready (\w+)", timeout=30).group(1)


# ---- the link ----

def test_hosts_on_either_side_reach_the_other(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp)
    berlin.wait_status(transport="dtls")
    digests = {ns: start_web(ns) for ns in (lab.corp, lab.berlin_lan)}
    for family in (4, 6):
        traffic.assert_pings(lab.corp, BERLIN[family])
        traffic.assert_pings(lab.berlin_lan, CORP[family])
        fetch(lab.berlin_lan, CORP[family], digests[lab.corp])
        fetch(lab.corp, BERLIN[family], digests[lab.berlin_lan])
    session = hq.session("berlin.sites.corp.example")
    assert (session["role"], session["networks"]) == ("site", BERLIN_NETS)
    assert berlin.status()["networks"] == BERLIN_NETS
    assert not [w for w in berlin.status()["warnings"] if "forward" in w]


def test_over_tls_alone_too(branch):
    lab, corp = branch
    start_link(lab, corp, client={"transport": "tcp"})
    traffic.assert_pings(lab.corp, *BERLIN.values())
    traffic.assert_pings(lab.berlin_lan, *CORP.values())


def test_networks_are_routed_while_the_link_is_up_and_only_then(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp, dpd="1s")
    assert site_routes(lab) == BERLIN_NETS
    berlin.process.popen.kill()
    berlin.process.wait()
    wait_routed(lab, wanted=[])
    berlin.start()
    assert site_routes(lab) == BERLIN_NETS
    assert berlin.stop() == 0
    wait_routed(lab, wanted=[])
    assert hq.stop() == 0


def test_renewals_leave_routes_and_packets_alone(branch):
    lab, corp = branch
    start_link(lab, corp, rekey="1s")
    monitor = watch_routes(lab.gw)
    answer = lab.corp.run(["ping", "-q", "-i", "0.01", "-c", "500", BERLIN[4]])
    assert re.search(r"500 packets transmitted, 500 received", answer.stdout), answer.stdout
    assert [line for line in monitor.log().splitlines() if "tund0" in line] == []


def test_a_link_comes_back_after_a_restart_of_either_end(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp, dpd="1s")
    addresses = berlin.status()["inner_addresses"]
    for tund, other in ((hq, berlin), (berlin, hq)) * 2:
        tund.process.stop()
        tund.start()
        berlin.wait_status(timeout=20, state="up")
        wait_routed(lab)
        wait_until(lambda: traffic.ping(lab.corp, BERLIN[4], count=1, wait=1), 10, "a ping")
        traffic.assert_pings(lab.berlin_lan, *CORP.values())
    assert berlin.status()["inner_addresses"] == addresses


def test_a_link_follows_its_clients_address(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp, dpd="1s")
    lab.berlin.ip("addr", "del", "10.77.1.2/24", "dev", "out0")
    lab.berlin.ip("addr", "add", "10.77.1.3/24", "dev", "out0")
    lab.berlin.ip("route", "add", "default", "via", "10.77.1.1")
    wait_until(lambda: [s for s in hq.sessions() if s["state"] == "open" and
                        s["peer_address"].startswith("10.77.1.3:")], 20, "a session from there", 0.2)
    wait_routed(lab)
    wait_until(lambda: traffic.ping(lab.corp, BERLIN[4], count=1, wait=1), 10, "a ping")
    assert len(hq.sessions()) == 1


def test_a_link_follows_the_gateways_name(branch):
    lab, corp = branch
    lab.berlin.hosts({GATEWAY_NAME: [GATEWAY_V4[0]]})
    hq, berlin = start_link(lab, corp, dpd="1s")
    assert berlin.status()["gateway_address"].startswith(GATEWAY_V4[0])
    lab.berlin.hosts({GATEWAY_NAME: [GATEWAY_V4[1]]})
    lab.wire.drop(f"ip daddr {GATEWAY_V4[0]}")
    wait_until(lambda: (berlin.status()["gateway_address"] or "").startswith(GATEWAY_V4[1]), 40,
               "a connection to the other address", 0.2)
    wait_until(lambda: traffic.ping(lab.corp, BERLIN[4], count=1, wait=1), 10, "a ping")


def test_a_silent_site_is_not_idle(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "laptop"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    hq = Tund(lab, lab.gw, hq_config(corp, **{"idle_timeout": "2s"})).start()
    site_client(lab, corp, "berlin").start()
    laptop = Tund(lab, lab.laptop, client_config(corp, corp.device("alice", unit="Staff"))).start()
    laptop.process.wait_for("idle-timeout")
    session = hq.session("berlin.sites.corp.example")
    assert (session["id"], session["state"]) == (1, "open")
    hq.config.set("gateway", idle_timeout="1s")
    reload(hq)
    laptop.process.wait_for("tunnel waiting -> connecting(.|\\n)*idle-timeout", 20,
                            laptop.process.mark())
    assert hq.session("berlin.sites.corp.example")["id"] == 1


# ---- addresses ----

def test_a_fixed_address_is_the_sites_and_nobody_elses(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "laptop"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    config = hq_config(corp)
    config.set('site "berlin"', address=["10.99.0.2"])
    hq = Tund(lab, lab.gw, config).start()
    laptop = Tund(lab, lab.laptop, client_config(corp, corp.device("alice", unit="Staff"))).start()
    assert laptop.inner() == "10.99.0.3"
    berlin = site_client(lab, corp, "berlin").start()
    assert berlin.inner() == "10.99.0.2"
    assert berlin.inner(6) == "fd99::3", "of the other family one of the pool"
    hq.process.popen.kill()
    hq.process.wait()
    hq.start()
    wait_until(lambda: sorted(s["state"] for s in hq.sessions()) == ["open", "open"], 20,
               "both sessions", 0.2)
    assert (berlin.inner(), laptop.inner()) == ("10.99.0.2", "10.99.0.3")
    traffic.assert_pings(lab.berlin_lan, CORP[4])


def test_a_fixed_address_outside_the_pool_is_routed(branch):
    lab, corp = branch
    config = hq_config(corp)
    config.set('site "berlin"', address=["10.98.7.7"])
    Tund(lab, lab.gw, config).start()
    berlin = site_client(lab, corp, "berlin").start()
    assert berlin.inner() == "10.98.7.7"
    assert ("tund0", 20) in routes_to(lab.gw, 4, "10.98.7.7")
    traffic.assert_pings(lab.corp, "10.98.7.7", *BERLIN.values())
    berlin.stop()
    wait_until(lambda: routes_to(lab.gw, 4, "10.98.7.7") == [], 10, "no route")


def test_an_outer_address_in_a_network_of_the_site_stays_outside(branch):
    lab, corp = branch
    config = hq_config(corp)
    config.set('site "berlin"', networks=[*BERLIN_NETS, "10.77.1.0/24"])
    Tund(lab, lab.gw, config).start()
    site_client(lab, corp, "berlin").start()
    assert "dev out0" in lab.gw.ip("route", "get", "10.77.1.2")
    assert "dev tund0" in lab.gw.ip("route", "get", "10.77.1.9")
    traffic.assert_pings(lab.corp, *BERLIN.values())


def test_a_certificate_of_two_sites_is_refused(branch):
    lab, corp = branch
    config = hq_config(corp)
    config.set('site "everybody"', match=["dns:*.sites.corp.example"], networks=PARIS_NETS)
    hq = Tund(lab, lab.gw, config).start()
    berlin = site_client(lab, corp, "berlin").start(wait=False)
    berlin.wait_status(state="refused", last_reason="no-access")
    hq.process.wait_for(r'matches site "berlin" \(line \d+\) and site "everybody" \(line \d+\)')
    assert site_routes(lab) == []


@pytest.mark.parametrize("duplicate", ["replace", "refuse", "allow"])
def test_a_site_is_in_one_place(make_lab, make_corp, duplicate):
    lab = make_lab(laptops=("berlin", "other"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    config = hq_config(corp, duplicate=duplicate)
    config.set('site "berlin"', match=["dns:berlin*.sites.corp.example"])
    hq = Tund(lab, lab.gw, config).start()
    site_client(lab, corp, "berlin").start()
    other = Tund(lab, lab.other, client_config(corp, corp.device(
        "berlin2", dns=["berlin2.sites.corp.example"])))
    other.start(wait=False)
    if duplicate == "refuse":
        other.wait_status(last_reason="duplicate-identity")
    else:
        other.wait_status(state="up")
    wait_until(lambda: [s["identity"] for s in hq.sessions()] ==
               ["berlin.sites.corp.example" if duplicate == "refuse" else "berlin2.sites.corp.example"],
               10, "the one session")
    wait_routed(lab)


def test_who_comes_back_after_a_restart_takes_the_site_from_who_came_meanwhile(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "other"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    hq = Tund(lab, lab.gw, hq_config(corp))
    hq.config.set('site "berlin"', match=["dns:berlin*.sites.corp.example"])
    hq.start()
    device = site_files(corp, "berlin")
    cookie = connected(lab.berlin, device).cookie
    hq.process.stop()
    hq.start()
    other = connected(lab.other, corp.device("berlin2", dns=["berlin2.sites.corp.example"]))
    assert [s["state"] for s in hq.sessions()] == ["away", "open"]
    back = Peer(lab.berlin, device)
    back.connect(cookie=cookie)
    assert [s["identity"] for s in hq.sessions()] == ["berlin.sites.corp.example"]
    other.expect(DISCONNECT)
    wait_routed(lab)


# ---- what is dropped ----

def foreign(hq):
    return hq.status()["drops"].get("foreign-source", 0)


def test_a_foreign_source_is_dropped_counted_and_named(branch):
    lab, corp = branch
    hq = Tund(lab, lab.gw, hq_config(corp, routes=[*CORP_NETS, *BERLIN_NETS])).start()
    # Our own client would not send it.
    device = site_files(corp, "berlin")
    stranger = Openconnect(lab, lab.berlin, corp, device).wait_up()
    assert f"X-CSTP-Split-Include: {CORP_NETS[0]}" in stranger.log()
    assert BERLIN_NETS[0] not in stranger.log(), "its own network was pushed to it as a route"
    traffic.assert_pings(lab.corp, *BERLIN.values())
    traffic.assert_pings(lab.berlin_lan, *CORP.values())
    assert foreign(hq) == 0
    lab.corp.ip("route", "add", "10.21.0.0/16", "dev", "lo")
    for address, target in (("10.21.0.10/32", CORP[4]), ("fd21::10/128", CORP[6])):
        lab.berlin_lan.ip("addr", "add", address, "dev", "eth0")
        source = address.split("/")[0]
        before = foreign(hq)
        heard = lab.corp.spawn(f"tcpdump-{before}", [
            "tcpdump", "-n", "-l", "-i", "eth0", "host", source])
        heard.wait_for("listening on")
        lab.berlin_lan.run(["ping", "-n", "-q", "-c", "20", "-i", "0.01", "-W", "1", "-I", source,
                            target], check=False)
        assert foreign(hq) - before == 20
        heard.stop(signal.SIGINT)
        assert source not in heard.log().split("listening on", 1)[1]
    session = hq.session("berlin.sites.corp.example")
    code, shown = hq.ctl("show", "session", str(session["id"]))
    assert (code, shown["session"]["drops"]["foreign-source"]) == (0, 40)
    lines = [line for line in hq.process.log().splitlines() if "dropped a packet from" in line]
    assert len(lines) == 1, lines
    assert f"session {session['id']} berlin.sites.corp.example" in lines[0]
    assert "10.21.0.10" in lines[0]
    stranger.stop()


def test_our_client_does_not_send_a_foreign_source(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp)
    lab.berlin_lan.ip("addr", "add", "10.21.0.10/32", "dev", "eth0")
    lab.berlin_lan.run(["ping", "-n", "-q", "-c", "5", "-i", "0.01", "-W", "1", "-I", "10.21.0.10",
                        CORP[4]], check=False)
    assert berlin.status()["drops"]["foreign-source"] == 5
    assert foreign(hq) == 0
    berlin.process.wait_for("dropped a packet from 10.21.0.10 to " + re.escape(CORP[4]))


def test_a_router_behind_a_site_can_tell_of_a_smaller_path(branch):
    lab, corp = branch
    start_link(lab, corp)
    lab.berlin.ip("link", "set", "lan0", "mtu", "1300")
    answer = lab.corp.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1350",
                           BERLIN[4]], check=False).stdout
    assert "mtu = 1300" in answer, answer
    answer = lab.corp.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1340",
                           BERLIN[6]], check=False).stdout
    assert "Packet too big: mtu=1300" in answer or "mtu=1300" in answer, answer


def echoes(ns, family):
    """How many echo requests have come there."""
    if family == 6:
        text = ns.run(["cat", "/proc/net/snmp6"]).stdout
        return int(re.search(r"^Icmp6InEchos\s+(\d+)", text, re.MULTILINE).group(1))
    names, values = re.findall(r"^Icmp: (.*)$", ns.run(["cat", "/proc/net/snmp"]).stdout, re.MULTILINE)
    return int(dict(zip(names.split(), values.split()))["InEchos"])


@pytest.mark.parametrize("site_allows", [True, False], ids=["site-yes", "site-no"])
@pytest.mark.parametrize("device_allows", [True, False], ids=["device-yes", "device-no"])
def test_devices_and_sites_reach_each_other_only_where_both_blocks_say_so(
        make_lab, make_corp, device_allows, site_allows):
    lab = make_lab(laptops=("berlin", "laptop"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    config = hq_config(corp, routes=[*CORP_NETS, *BERLIN_NETS, *POOLS])
    to_site = rules(*(BERLIN_NETS if device_allows else []), *CORP_NETS)
    to_device = rules(*(POOLS if site_allows else []), *CORP_NETS)
    config.set('access "staff"', allow=to_site, accept=to_site)
    config.set('site "berlin"', allow=to_device, accept=to_device)
    Tund(lab, lab.gw, config).start()
    site_client(lab, corp, "berlin").start()
    laptop = Tund(lab, lab.laptop, client_config(corp, corp.device("alice", unit="Staff"))).start()
    wanted = 2 if device_allows and site_allows else 0
    for family in (4, 6):
        traffic.assert_pings(lab.laptop, CORP[family])
        traffic.assert_pings(lab.berlin_lan, CORP[family])
        for ns, far, target in ((lab.laptop, lab.berlin_lan, BERLIN[family]),
                                (lab.berlin_lan, lab.laptop, laptop.inner(family))):
            before = echoes(far, family)
            got = traffic.ping(ns, target, count=2, wait=1)
            assert got == wanted, f"{got} of 2 pings of {target} from {ns.role}"
            assert echoes(far, family) - before == wanted, "it must not even get there"


def test_sites_reach_each_other_without_more_being_pushed_by_hand(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "paris"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    lab.add_lan("paris", "10.30.0", "fd30")
    corp = make_corp(lab)
    config = hq_config(corp)
    config.set('site "berlin"', allow=rules("10.0.0.0/8", "fd00::/8"), accept=rules(*CORP_NETS))
    add_site(config, "paris", PARIS_NETS, allow=rules(*CORP_NETS), accept=rules(*BERLIN_NETS))
    Tund(lab, lab.gw, config).start()
    berlin, paris = [site_client(lab, corp, name).start() for name in ("berlin", "paris")]
    assert set(PARIS_NETS) <= set(berlin.status()["routes"])
    assert set(BERLIN_NETS) <= set(paris.status()["routes"])
    for tund, own in ((berlin, BERLIN_NETS), (paris, PARIS_NETS)):
        assert not set(own) & set(tund.status()["routes"])
    digest = start_web(lab.paris_lan)
    for family in (4, 6):
        fetch(lab.berlin_lan, PARIS[family], digest)
        got = traffic.ping(lab.paris_lan, BERLIN[family], count=2, wait=1)
        assert got == 0, "paris may not open towards berlin"


def test_a_devices_client_is_told_of_no_networks(make_lab, make_corp):
    lab = make_lab(laptops=("laptop",))
    corp = make_corp(lab)
    hq = Tund(lab, lab.gw, hq_config(corp)).start()
    laptop = Tund(lab, lab.laptop, client_config(corp, corp.device("alice", unit="Staff"))).start()
    assert laptop.status()["networks"] == []
    session = hq.session("alice")
    assert (session["role"], session["networks"]) == ("device", [])
    assert routes_to(lab.laptop, 4, CORP_NETS[0]) == [("tund0", 0)]


# ---- the hosts ----

def test_a_client_that_does_not_forward_says_so(branch):
    lab, corp = branch
    lab.berlin.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"])
    _, berlin = start_link(lab, corp)
    berlin.process.wait_for(r"warn .*does not forward IPv4, .* sysctl net.ipv4.ip_forward=1$")
    assert [w for w in berlin.status()["warnings"] if "does not forward IPv4," in w]
    lab.berlin.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    assert not [w for w in berlin.status()["warnings"] if "forward" in w]


def test_a_route_that_is_somebody_elses_is_told_and_taken_when_it_is_gone(branch):
    lab, corp = branch
    lab.gw.ip("route", "add", "10.20.0.0/16", "via", CORP[4])
    hq, berlin = start_link(lab, corp)
    hq.process.wait_for(r"warn .*route 10\.20\.0\.0/16 is already on interface corp0; remove it there")
    assert site_routes(lab) == ["fd20::/48"], "the others are set all the same"
    assert [w for w in hq.status()["warnings"] if "10.20.0.0/16" in w]
    traffic.assert_pings(lab.corp, BERLIN[6])
    assert hq.session("berlin.sites.corp.example")["state"] == "open"
    lab.gw.ip("route", "del", "10.20.0.0/16", "via", CORP[4])
    wait_routed(lab, timeout=40)
    assert not [w for w in hq.status()["warnings"] if "10.20.0.0/16" in w]
    traffic.assert_pings(lab.corp, BERLIN[4])


# ---- reload ----

def reload(hq):
    hq.write_config()
    code, answer = hq.ctl("reload")
    assert code == 0, answer


def test_a_reload_gives_a_live_link_other_networks(branch):
    lab, corp = branch
    hq, _ = start_link(lab, corp, rekey="2s")
    before = hq.session("berlin.sites.corp.example")
    lab.berlin_lan.ip("addr", "add", "10.21.0.10/32", "dev", "eth0")
    lab.berlin.ip("route", "add", "10.21.0.10/32", "dev", "lan0")
    hq.config.set('site "berlin"', networks=["10.20.0.0/24", "10.21.0.0/16"])
    reload(hq)
    wait_until(lambda: site_routes(lab, [*BERLIN_NETS, "10.20.0.0/24", "10.21.0.0/16"]) ==
               ["10.20.0.0/24", "10.21.0.0/16"], 10, "the new routes alone")
    traffic.assert_pings(lab.corp, BERLIN[4])
    # The client is told with its next renewal.
    wait_until(lambda: traffic.ping(lab.corp, "10.21.0.10", count=1, wait=1), 10, "a ping")
    assert traffic.ping(lab.corp, BERLIN[6], count=1, wait=1) == 0
    after = hq.session("berlin.sites.corp.example")
    assert (after["id"], after["networks"]) == (before["id"], ["10.20.0.0/24", "10.21.0.0/16"])


def test_a_reload_without_the_block_ends_the_link(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp)
    watch = lab.gw.spawn("watch", [TUNCTL, "-s", hq.socket, "-j", "watch"])
    watch.wait_for('"snapshot"')
    hq.config.remove('site "berlin"')
    reload(hq)
    wait_routed(lab, wanted=[])
    watch.wait_for('"site-down"')
    assert hq.sessions() == []
    berlin.wait_status(state="refused", last_reason="no-access")


def test_a_device_gives_way_to_the_site_that_got_its_address_by_a_reload(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "laptop"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    hq = Tund(lab, lab.gw, hq_config(corp)).start()
    laptop = Tund(lab, lab.laptop, client_config(corp, corp.device("alice", unit="Staff"))).start()
    assert laptop.inner() == "10.99.0.2"
    hq.config.set('site "berlin"', address=["10.99.0.2"])
    reload(hq)
    assert laptop.inner() == "10.99.0.2", "as long as nobody else needs it"
    berlin = site_client(lab, corp, "berlin").start()
    assert berlin.inner() == "10.99.0.2"
    wait_until(lambda: laptop.status()["inner_addresses"][:1] == ["10.99.0.3"], 20, "another address",
               0.2)
    traffic.assert_pings(lab.laptop, CORP[4])
    traffic.assert_pings(lab.berlin_lan, CORP[4])


def test_a_reload_that_makes_two_links_of_one_site_leaves_one(make_lab, make_corp):
    lab = make_lab(laptops=("berlin", "other"))
    lab.add_lan("berlin", "10.20.0", "fd20")
    corp = make_corp(lab)
    hq = Tund(lab, lab.gw, hq_config(corp, duplicate="refuse"))
    hq.config.set('site "berlin"', match=["cn=nobody"])
    hq.config.set('access "sites"', match=["dns:*.sites.corp.example"], allow=ANY, accept=ANY)
    hq.start()
    site_client(lab, corp, "berlin").start()
    Tund(lab, lab.other, client_config(corp, corp.device(
        "berlin2", dns=["berlin2.sites.corp.example"]))).start()
    hq.config.set('site "berlin"', match=["dns:berlin*.sites.corp.example"])
    hq.write_config()
    code, answer = hq.ctl("reload")
    assert code == 0, answer
    assert [(cut["identity"], cut["reason"]) for cut in answer["cut"]] == [
        ("berlin2.sites.corp.example", "duplicate-identity")]
    assert [s["identity"] for s in hq.sessions()] == ["berlin.sites.corp.example"]
    wait_routed(lab)


def test_a_reload_cannot_give_a_site_the_pool_that_stays_until_a_restart(branch):
    lab, corp = branch
    hq, _ = start_link(lab, corp)
    hq.config.set("gateway", pool=["10.98.0.0/24", "fd98::/64"])
    hq.config.set('site "berlin"', networks=["10.99.0.0/16"])
    hq.write_config()
    code, answer = hq.ctl("reload")
    assert (code, answer["applied"]) == (1, False), answer
    texts = [problem["text"] for problem in answer["problems"]]
    assert "10.99.0.0/16 overlaps gateway.pool 10.99.0.0/24" in texts[0]
    assert "until a restart" in texts[1]
    assert hq.session("berlin.sites.corp.example")["networks"] == BERLIN_NETS


# ---- two gateways, each the other's site ----

BERLIN_GATEWAY = "berlin.corp.example"


class Neighbours:
    """A gateway at either end, and beside each a client that dials the other when it is told to."""

    def __init__(self, lab, corp):
        self.lab = lab
        lab.gw.hosts({BERLIN_GATEWAY: ["10.77.1.2"]})
        hq = hq_config(corp, dpd="1s")
        self.hq = Tund(lab, lab.gw, hq).start()
        certificate = corp.root.issue(BERLIN_GATEWAY, usages=(SERVER_AUTH,), dns=[BERLIN_GATEWAY])
        crt, key = corp.write("berlin-gateway", certificate)
        config = gateway_config(corp, pool=["10.98.0.0/24", "fd98::/64"], routes=BERLIN_NETS, dpd="1s")
        config.set("identity", certificate=crt, key=key).remove('access "everyone"')
        add_site(config, "hq", list(CORP_NETS))
        self.berlin = Tund(lab, lab.berlin, config).start()
        self.clients = {
            "berlin": self.make_client(corp, "berlin", lab.berlin, GATEWAY_NAME),
            "hq": self.make_client(corp, "hq", lab.gw, BERLIN_GATEWAY)}

    def make_client(self, corp, name, ns, gateway):
        config = client_config(corp, site_files(corp, name), gateway=f"{gateway}:443")
        config.set("client", interface="tund1").set("trust", peer_name=gateway)
        return Tund(self.lab, ns, config, name=f"{ns.role}-dials")

    def assert_reach(self):
        for ns, targets in ((self.lab.corp, BERLIN), (self.lab.berlin_lan, CORP)):
            for target in targets.values():
                wait_until(lambda: traffic.ping(ns, target, count=1, wait=1), 10,
                           f"a ping of {target}")
                traffic.assert_pings(ns, target)


@pytest.mark.parametrize("dials", ["berlin", "hq"])
def test_of_two_gateways_either_may_dial(branch, dials):
    lab, corp = branch
    neighbours = Neighbours(lab, corp)
    neighbours.clients[dials].start()
    neighbours.assert_reach()


def test_two_gateways_may_dial_each_other_at_once(branch):
    lab, corp = branch
    neighbours = Neighbours(lab, corp)
    for client in neighbours.clients.values():
        client.start()
    ways = [("tund0", 20), ("tund1", 40)]
    for ns, networks in ((lab.gw, BERLIN_NETS), (lab.berlin, CORP_NETS)):
        for family, network in zip((4, 6), networks):
            wait_until(lambda: routes_to(ns, family, network)[:2] == ways, 10, f"two ways to {network}")
    neighbours.assert_reach()
    for client in neighbours.clients.values():
        client.stop()
        neighbours.assert_reach()
        client.start()
        neighbours.assert_reach()


# ---- the parent believes nothing ----

PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)


def borrow_sockets(pid):
    """Descriptors of our own of a process's packet sockets, the youngest first."""
    pidfd = os.pidfd_open(pid)
    sockets = []
    for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fd")), reverse=True):
        if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
            continue
        own = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
        assert own >= 0, os.strerror(ctypes.get_errno())
        borrowed = socket.socket(fileno=own)
        if (borrowed.family, borrowed.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            sockets.append(borrowed)
        else:
            borrowed.close()
    os.close(pidfd)
    return sockets


def find_request_socket(tund):
    """The engine's end towards its parent: where something that the parent says arrives."""
    pids = tund.processes()
    os.kill(pids["engine"], signal.SIGSTOP)
    try:
        ours, *others = borrow_sockets(pids["tund"])
        ends = borrow_sockets(pids["engine"])
        ours.send(b"x")
        end, = select.select(ends, [], [], 5)[0]
        assert end.recv(10) == b"x"
    finally:
        os.kill(pids["engine"], signal.SIGCONT)
    for borrowed in (ours, *others, *ends):
        if borrowed is not end:
            borrowed.close()
    return end


def routes_message(*prefixes):
    """PARENT_MSG_ROUTES as tund/wire/parent_msg.c writes it."""
    packed = b""
    for prefix in prefixes:
        network = ipaddress.ip_network(prefix)
        packed += struct.pack("!B16sB", network.version, network.network_address.packed.ljust(16, b"\0"),
                              network.prefixlen)
    return struct.pack("!IBH", 0xffffffff, 5, len(prefixes)) + packed


@pytest.mark.parametrize("routes", [
    ["10.66.0.0/16"], ["10.0.0.0/8"], ["0.0.0.0/0"], ["10.20.0.0/16", "10.66.0.0/16"], ["fd20::/47"],
    ["10.50.0.10/32"]], ids=lambda routes: routes[-1])
def test_an_engine_that_is_taken_over_can_have_nothing_routed_but_what_sites_have(branch, routes):
    lab, corp = branch
    hq = Tund(lab, lab.gw, hq_config(corp)).start()
    monitor = watch_routes(lab.gw)
    with find_request_socket(hq) as engine:
        engine.send(routes_message(*routes))
        # What is allowed is set, and shows that the one before has been judged by then.
        engine.send(routes_message("10.20.7.0/24"))
        monitor.wait_for("10.20.7.0/24 dev tund0")
        engine.send(routes_message())
        monitor.wait_for("Deleted 10.20.7.0/24 dev tund0")
    changes = [line for line in monitor.log().splitlines() if "tund0" in line]
    assert len(changes) == 2, changes


# ---- for years ----

RESTARTS = 20
MEGABYTES = 40


def restart(ends, rng):
    """One of them at a random moment, by TERM or KILL."""
    time.sleep(rng.uniform(0.5, 2.5))
    end = rng.choice(ends)
    end.process.send_signal(rng.choice([signal.SIGTERM, signal.SIGKILL]))
    end.process.wait()
    end.start(wait=False)


@pytest.mark.slow
def test_a_transfer_outlives_twenty_restarts_of_either_end_with_rekeys_and_loss(branch):
    lab, corp = branch
    hq, berlin = start_link(lab, corp, rekey="5s", dpd="1s")
    digests = {ns: start_web(ns, MEGABYTES) for ns in (lab.corp, lab.berlin_lan)}
    lab.wire.lose(50)
    started = time.monotonic()
    copies, curls = {}, []
    for ns, other, target in ((lab.berlin_lan, lab.corp, CORP[4]), (lab.corp, lab.berlin_lan, BERLIN[6])):
        copy = lab.dir / f"copy-{ns.role}"
        copies[copy] = digests[other]
        curls.append(ns.spawn("curl", ["curl", "-sS", "--fail", "--max-time", "115", "--limit-rate",
                                       "900K", "-o", copy, f"http://{traffic.host(target)}/blob"]))
    rng = random.Random(5)
    for _ in range(RESTARTS):
        restart([hq, berlin], rng)
    assert all(curl.running() for curl in curls), "they were over before the restarts"
    for curl in curls:
        assert curl.wait(120) == 0, curl.tail()
    assert time.monotonic() - started < 120
    for copy, digest in copies.items():
        assert traffic.file_digest(copy) == digest
    lab.wire.lift()
    berlin.wait_status(timeout=30, state="up")
    wait_until(lambda: traffic.ping(lab.corp, BERLIN[4], count=1, wait=1), 10, "a ping")
    wait_routed(lab)
    assert len(hq.sessions()) == 1
