"""Keys on a PKCS#11 token (SoftHSM) and in a TPM (swtpm): real handshakes with them, what is said
when something is wrong, and what the key holder may still do with a token open.

    laptop --- wan --- gw         either's key may be elsewhere
"""

import os
import pwd
from pathlib import Path

import pytest

from lab import GATEWAY_NAME
from peers import DAEMON_USER, TUND, Tund, client_config, gateway_config, start_client, start_gateway
from pki import CLIENT_AUTH, SERVER_AUTH
from tokens import MODULE, PIN, SoftHsm, Tpm

URI = "pkcs11:token=hq;object=key"


def issue(corp, name, public, usages):
    """A certificate for a key that is elsewhere; its file."""
    dns = [GATEWAY_NAME] if usages == (SERVER_AUTH,) else []
    leaf = corp.root.issue(name, usages=usages, dns=dns, key=public)
    file = corp.directory / f"{name}.elsewhere.crt"
    file.write_bytes(leaf.pem())
    return file


def gateway_with(lab, corp, public, env, **identity):
    config = gateway_config(corp)
    config.set("identity", certificate=issue(corp, GATEWAY_NAME, public, (SERVER_AUTH,)), **identity)
    return Tund(lab, lab.gw, config, env=env)


def client_with(lab, corp, public, env, **identity):
    certificate = issue(corp, "alice", public, (CLIENT_AUTH,))
    config = client_config(corp, (certificate, identity["key"]))
    config.set("identity", **identity)
    return Tund(lab, lab.laptop, config, env=env)


def check(tund):
    """--check where the daemon would run: (exit status, what it printed)."""
    tund.write_config()
    done = tund.ns.run(["env", *(f"{name}={value}" for name, value in tund.env.items()), TUND,
                        "--check", "--config", tund.file], check=False)
    return done.returncode, done.stdout + done.stderr


def refused(tund, *parts):
    """By --check, with these parts in one line, and the PIN in none."""
    code, said = check(tund)
    assert code == 1, said
    lines = [line for line in said.splitlines() if "identity.key" in line]
    assert len(lines) == 1 and all(part in lines[0] for part in parts), said
    assert PIN not in said
    return lines[0]


def metric(tund, name, **labels):
    code, answer = tund.ctl("metrics")
    assert code == 0
    found = next(m for m in answer["metrics"] if m["name"] == name)
    return sum(s["value"] for s in found["samples"]
               if all(s["labels"].get(k) == v for k, v in labels.items()))


@pytest.fixture
def hsm(lab):
    return SoftHsm(lab.dir / "hsm", "hq")


@pytest.fixture
def tpm(lab):
    tpm = Tpm(lab.dir / "tpm")
    yield tpm
    tpm.stop()


# Handshakes.

SCHEMES = {"p256": "ecdsa_secp256r1_sha256", "p384": "ecdsa_secp384r1_sha384",
           "ed25519": "ed25519", "rsa2048": "rsa_pss_rsae_sha256"}


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "p384", "ed25519"])
def test_a_gateway_signs_with_a_key_on_a_token(lab, corp, hsm, kind):
    gateway = gateway_with(lab, corp, hsm.make(kind=kind), hsm.env, **hsm.identity())
    code, said = check(gateway)
    assert code == 0, said
    gateway.start()
    start_client(lab, corp)
    assert metric(gateway, "tund_key_signatures_total", role="gateway",
                  scheme=SCHEMES[kind]) == 1
    assert metric(gateway, "tund_key_refusals_total") == 0


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_a_client_signs_with_a_key_on_a_token(lab, corp, hsm, kind):
    start_gateway(lab, corp)
    client = client_with(lab, corp, hsm.make(kind=kind), hsm.env, **hsm.identity())
    code, said = check(client)
    assert code == 0, said
    client.start()
    assert metric(client, "tund_key_signatures_total", role="client", scheme=SCHEMES[kind]) == 1


def test_a_key_that_wants_its_pin_each_time_gets_it(lab, corp, hsm):
    public = hsm.make(extra=("--always-auth",))
    gateway_with(lab, corp, public, hsm.env, **hsm.identity()).start()
    start_client(lab, corp)


def test_the_module_is_found_by_p11_kit_too(lab, corp, hsm):
    options = {**hsm.identity(), "key": URI}
    gateway_with(lab, corp, hsm.make(), hsm.env, **options).start()
    start_client(lab, corp)


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_a_gateway_signs_with_a_key_in_a_tpm(lab, corp, tpm, kind):
    gateway = gateway_with(lab, corp, tpm.make(kind=kind), tpm.env, key="handle:0x81000001")
    code, said = check(gateway)
    assert code == 0, said
    gateway.start()
    start_client(lab, corp)
    assert metric(gateway, "tund_key_signatures_total", scheme=SCHEMES[kind]) == 1


def test_a_client_signs_with_a_key_in_a_tpm(lab, corp, tpm):
    start_gateway(lab, corp)
    client = client_with(lab, corp, tpm.make(), tpm.env, key="handle:0x81000001")
    code, said = check(client)
    assert code == 0, said
    client.start()


def test_a_key_in_a_tpm_may_have_a_password(lab, corp, tpm):
    secret = corp.directory / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    gateway = gateway_with(lab, corp, tpm.make(password="open sesame"), tpm.env,
                           key="handle:0x81000001", passphrase_file=secret)
    gateway.start()
    start_client(lab, corp)


def test_a_file_of_a_tpm_is_opened_by_it(lab, corp, tpm):
    file, public = tpm.make_file()
    gateway_with(lab, corp, public, tpm.env, key=file).start()
    start_client(lab, corp)


def test_the_key_holder_with_a_token_is_closed_in(lab, corp, hsm):
    """Nobody, without rights, filtered, and with no descriptor but those it was born with."""
    gateway = gateway_with(lab, corp, hsm.make(), hsm.env, **hsm.identity()).start()
    start_client(lab, corp)
    pid = gateway.processes()["keys"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text()
                  .splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {str(pwd.getpwnam(DAEMON_USER).pw_uid)}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    inner = [link for link in links if not link.startswith("socket:")]
    assert all(link == "/dev/null" or link.endswith(".log") for link in inner), links


# What can be wrong, and what would be right.

def test_a_wrong_pin_is_tried_once(lab, corp, hsm):
    gateway = gateway_with(lab, corp, hsm.make(), hsm.env, **hsm.identity(pin="000000"))
    assert "PIN count low" not in hsm.flags().replace("user ", "")
    refused(gateway, "the token says that the PIN in", "is wrong", "not tried again")
    assert "user PIN count low" in hsm.flags()


def test_what_is_wrong_with_a_token_is_said(lab, corp, hsm):
    public = hsm.make()
    hsm.make(name="twin", number="02")
    hsm.make(name="twin", number="03")
    gateway = gateway_with(lab, corp, public, hsm.env, **hsm.identity())
    module = f"?module-path={MODULE}"
    for uri, parts in {
            "pkcs11:token=none;object=key" + module: ("no such token is present; there are token=hq",),
            "pkcs11:token=hq;object=other" + module: ("holds no such private key; there are object=",
                                                      "object=key;id=%01"),
            "pkcs11:token=hq;object=twin" + module: ("several private keys match", "id=%02", "id=%03"),
            "pkcs11:token=hq;object" + module: ("is no PKCS#11 URI",),
            "pkcs11:token=hq;object=key;type=cert" + module: ("means no private key",),
            f"pkcs11:token=hq;object=key{module}&pin-value={PIN}": ("holds a PIN", "passphrase-file"),
            f"pkcs11:token=hq;object=key{module}&pin-source=file:/x": ("where it stands",),
            "pkcs11:token=hq;object=key?module-path=/nowhere.so": (
                "the PKCS#11 module /nowhere.so does not load",),
            "pkcs11:token=hq;object=twin;id=%02" + module: ("does not belong to the certificate",),
    }.items():
        gateway.config.set("identity", key=uri)
        refused(gateway, *parts)
    gateway.config.set("identity", **hsm.identity())
    gateway.config.unset("identity", "passphrase_file")
    refused(gateway, "asks for a PIN", "passphrase-file")
    gateway.config.set("identity", passphrase_file=hsm.pin_file(mode=0o644))
    refused(gateway, "pin: readable by others", "chmod 600")
    gateway.config.set("identity", passphrase_file=hsm.pin_file())
    gateway.config.unset("identity", "token_directory")
    refused(gateway, "no more once the key holder is closed in", "identity.token-directory")


def test_two_tokens_of_one_name_are_not_guessed_among(lab, corp):
    hsm = SoftHsm(lab.dir / "hsm", "hq", "hq2")
    gateway = gateway_with(lab, corp, hsm.make(), hsm.env,
                           **hsm.identity(uri="pkcs11:object=key"))
    refused(gateway, "2 tokens match", "token=hq serial=", "token=hq2")


def test_what_is_wrong_with_a_tpm_is_said(lab, corp, tpm):
    public = tpm.make(password="open sesame")
    secret = corp.directory / "secret"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    gateway = gateway_with(lab, corp, public, tpm.env, key="handle:0x81000007")
    refused(gateway, "handle:0x81000007: no private key there")
    gateway.config.set("identity", key="handle:0x81000001")
    refused(gateway, "if the key has a password, name a passphrase-file")
    gateway.config.set("identity", passphrase_file=secret)
    refused(gateway, "cannot sign", "is the password in", "secret right?")
    tpm.stop()
    refused(gateway, "TPM2OPENSSL_TCTI")


# While it runs.

def test_a_token_that_goes_away_and_comes_back(lab, corp, hsm):
    gateway = gateway_with(lab, corp, hsm.make(), hsm.env, **hsm.identity()).start()
    client = start_client(lab, corp)
    hsm.hide()
    client.stop()
    client.start(wait=False)
    gateway.process.wait_for(r"no signature: pkcs11:token=hq;object=key: ")
    assert metric(gateway, "tund_key_refusals_total", reason="failed") > 0
    hsm.put_back()
    client.process.wait_for(client.ready, 30)
    gateway.process.wait_for("the token was away and is back")


def reload(gateway):
    gateway.write_config()
    return gateway.ctl("reload")


def test_a_reload_takes_what_the_token_has(lab, corp, hsm):
    """Another certificate for the same key; another key of the token; and no other token's."""
    public = hsm.make()
    other = hsm.make(name="other", number="02", kind="rsa2048")
    gateway = gateway_with(lab, corp, public, hsm.env, **hsm.identity()).start()
    client = start_client(lab, corp)

    gateway.config.set("identity", certificate=issue(corp, GATEWAY_NAME, public, (SERVER_AUTH,)))
    code, answer = reload(gateway)
    assert code == 0, answer

    gateway.config.set("identity", certificate=issue(corp, GATEWAY_NAME, other, (SERVER_AUTH,)),
                       **hsm.identity(uri="pkcs11:token=hq;object=other"))
    code, answer = reload(gateway)
    assert code == 0, answer
    before = metric(gateway, "tund_key_signatures_total", scheme=SCHEMES["rsa2048"])
    client.stop()
    client.start()
    assert metric(gateway, "tund_key_signatures_total", scheme=SCHEMES["rsa2048"]) == before + 1

    gateway.config.set("identity", **hsm.identity(uri="pkcs11:token=hq;object=none"))
    code, answer = reload(gateway)
    assert code == 1 and "holds no such private key" in answer["problems"][0]["text"], answer
