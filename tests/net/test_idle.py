"""A session that carries nothing for a while gives its buffers back; nobody notices.

    laptop (raw peer) --- wan --- gw --- corp
"""

import time

from peers import start_gateway
from rawpeer import DPD_REQUEST, DPD_RESPONSE, KEEPALIVE, assert_echo, connected, wait_for


def test_idle_session_answers_and_carries_on_both_channels(lab, corp):
    start_gateway(lab, corp, dpd="60s", keepalive="60s")
    peer = connected(lab.laptop, corp.device("alice"))
    path = peer.dtls()
    assert path.handshake()
    for first, second in [(path, peer), (peer, path), (path, peer)]:
        time.sleep(2)
        assert first.probe()
        assert second.probe()
        time.sleep(2)
        assert_echo(first, first, peer.inner4)
        assert_echo(second, second, peer.inner4)


def test_idle_session_is_asked_on_both_channels(lab, corp):
    start_gateway(lab, corp, dpd="3s", keepalive="60s")
    peer = connected(lab.laptop, corp.device("alice"))
    path = peer.dtls()
    assert path.handshake()
    for _ in range(4):
        for channel in (path, peer):
            channel.send(DPD_RESPONSE, wait_for(channel.next, DPD_REQUEST, 8))


def test_idle_session_is_kept_alive_on_both_channels(lab, corp):
    start_gateway(lab, corp, dpd="60s", keepalive="4s")
    peer = connected(lab.laptop, corp.device("alice"))
    path = peer.dtls()
    assert path.handshake()
    for _ in range(3):
        for channel in (path, peer):
            wait_for(channel.next, KEEPALIVE, 8)
