"""scripts/ca, verb by verb: what it makes holds for openssl, and what it refuses it refuses clearly."""

import datetime
import os
import pathlib
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "ca"


def run(*arguments, env=None):
    return subprocess.run([CA, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=env)


def ok(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(text, *arguments, status=1, env=None):
    done = run(*arguments, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    assert text in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def read_list(path):
    return x509.load_pem_x509_crl(path.read_bytes())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def verifies(directory, name, purpose):
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-crl_check",
         "-CAfile", directory / "ca.crt", "-CRLfile", directory / "ca.crl",
         directory / "issued" / f"{name}.crt"], capture_output=True).returncode == 0


def names(cert, kind):
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name) for name in san.get_values_for_type(kind)]


def purposes(cert):
    return list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.fixture
def ca(tmp_path):
    ok("init", tmp_path / "ca")
    return tmp_path / "ca"


@pytest.mark.parametrize("algorithm, key_type", [
    ("p256", ec.EllipticCurvePublicKey), ("ed25519", ed25519.Ed25519PublicKey)])
def test_a_whole_life(tmp_path, algorithm, key_type):
    ca = tmp_path / "my ca"  # a space is nothing special
    ok("init", ca, "--algorithm", algorithm, "--name", "Corp / CA + Söhne", "--days", 1000)
    ok("gateway", ca, "vpn.corp.example", "--ip", "192.0.2.1", "--ip", "2001:db8::1")
    ok("device", ca, "alice")
    ok("site", ca, "berlin.corp.example")
    root = read(ca / "ca.crt")
    assert isinstance(root.public_key(), key_type)
    assert root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "Corp / CA + Söhne"
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (root.not_valid_after - datetime.datetime.utcnow()).days in (999, 1000)
    for name, purpose in (("vpn.corp.example", "sslserver"), ("alice", "sslclient"),
                          ("berlin.corp.example", "sslclient")):
        assert isinstance(read(ca / "issued" / f"{name}.crt").public_key(), key_type)
        assert verifies(ca, name, purpose)
    ok("revoke", ca, "alice", "--reason", "keyCompromise")
    assert not verifies(ca, "alice", "sslclient")
    assert verifies(ca, "berlin.corp.example", "sslclient")


def test_init_leaves_a_list_and_closed_keys(ca):
    published = read_list(ca / "ca.crl")
    assert len(published) == 0
    assert published.next_update - published.last_update > datetime.timedelta(days=29)
    assert mode(ca / "ca.key") == 0o600
    assert mode(ca / "ca.crt") == mode(ca / "ca.crl") == 0o644
    assert [path for path in ca.parent.iterdir() if path != ca] == []


def test_a_gateway(ca):
    out = ok("gateway", ca, "vpn.corp.example", "--dns", "*.corp.example", "--ip", "192.0.2.1",
             "--ip", "2001:db8::1", "--organisation", "Corp")
    assert out.strip() == str(ca / "issued" / "vpn.corp.example.crt")
    cert = read(ca / "issued" / "vpn.corp.example.crt")
    assert purposes(cert) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names(cert, x509.DNSName) == ["vpn.corp.example", "*.corp.example"]
    assert names(cert, x509.IPAddress) == ["192.0.2.1", "2001:db8::1"]
    assert (cert.not_valid_after - datetime.datetime.utcnow()).days in (824, 825)
    assert cert.not_valid_before < datetime.datetime.utcnow() - datetime.timedelta(minutes=4)
    assert mode(ca / "issued" / "vpn.corp.example.key") == 0o600
    assert cert.serial_number.bit_length() > 64


def test_a_device(ca):
    ok("device", ca, "alice", "--organisation", "Corp & Co. / Nord + Süd", "--unit", "Eng",
       "--unit", "O=ps", "--email", "alice@corp.example", "--uri", "tund://corp/alice?a=b&c",
       "--dns", "alice.corp.example", "--days", 10)
    cert = read(ca / "issued" / "alice.crt")
    assert purposes(cert) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert [(a.oid, a.value) for a in cert.subject] == [
        (NameOID.ORGANIZATION_NAME, "Corp & Co. / Nord + Süd"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Eng"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "O=ps"),
        (NameOID.COMMON_NAME, "alice")]
    assert names(cert, x509.RFC822Name) == ["alice@corp.example"]
    assert names(cert, x509.UniformResourceIdentifier) == ["tund://corp/alice?a=b&c"]
    assert names(cert, x509.DNSName) == ["alice.corp.example"]
    assert (cert.not_valid_after - datetime.datetime.utcnow()).days in (9, 10)
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ok("device", ca, "bob", "--algorithm", "ed25519")
    assert names(read(ca / "issued" / "bob.crt"), x509.DNSName) == []
    assert isinstance(read(ca / "issued" / "bob.crt").public_key(), ed25519.Ed25519PublicKey)
    assert verifies(ca, "bob", "sslclient")


def test_a_site(ca):
    ok("site", ca, "berlin.corp.example", "--dns", "b.corp.example", "--organisation", "Corp")
    cert = read(ca / "issued" / "berlin.corp.example.crt")
    assert purposes(cert) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert names(cert, x509.DNSName) == ["berlin.corp.example", "b.corp.example"]


def test_what_is_revoked_can_be_issued_again(ca):
    ok("device", ca, "alice")
    first = read(ca / "issued" / "alice.crt")
    refused("alice is issued already", "device", ca, "alice")
    refused("alice is issued already", "site", ca, "alice")
    assert ok("revoke", ca, "alice").strip() == str(ca / "ca.crl")
    refused("alice is revoked already", "revoke", ca, "alice")
    refused("alice is revoked", "laptop-config", ca, "alice", "--gateway", "vpn.corp.example")
    ok("device", ca, "alice")
    published = read_list(ca / "ca.crl")
    assert published.get_revoked_certificate_by_serial_number(first.serial_number)
    assert verifies(ca, "alice", "sslclient")


def test_revoking_a_name_revokes_all_it_has(ca):
    ok("device", ca, "alice")
    first = read(ca / "issued" / "alice.crt")
    ok("device", ca, "alice", "--renew")
    second = read(ca / "issued" / "alice.crt")
    ok("device", ca, "malice")
    ok("device", ca, "alice2", "--organisation", "x/CN=alice")
    assert first.public_key() != second.public_key()
    ok("revoke", ca, "alice", "--reason", "superseded")
    published = read_list(ca / "ca.crl")
    assert {entry.serial_number for entry in published} == {first.serial_number,
                                                            second.serial_number}
    entry = published.get_revoked_certificate_by_serial_number(second.serial_number)
    assert entry.extensions[0].value.reason == x509.ReasonFlags.superseded
    assert verifies(ca, "malice", "sslclient") and verifies(ca, "alice2", "sslclient")


def test_lists_are_published_anew(ca):
    def number():
        return read_list(ca / "ca.crl").extensions.get_extension_for_class(
            x509.CRLNumber).value.crl_number

    first, inode = number(), os.stat(ca / "ca.crl").st_ino
    ok("crl", ca, "--days", 3)
    published = read_list(ca / "ca.crl")
    assert number() == first + 1
    assert published.next_update - published.last_update < datetime.timedelta(days=4)
    assert published.last_update < datetime.datetime.utcnow()
    assert os.stat(ca / "ca.crl").st_ino != inode  # renamed into place, never half written
    ok("crl", ca)
    assert number() == first + 2
    assert not list(ca.glob(".work*"))


def test_list(ca):
    ok("gateway", ca, "vpn.corp.example")
    ok("device", ca, "alice")
    ok("device", ca, "bob")
    ok("revoke", ca, "bob")
    rows = [line.split() for line in ok("list", ca).splitlines()]
    assert rows[0] == ["NAME", "SERIAL", "UNTIL", "STATE"]
    assert [(row[0], row[3]) for row in rows[1:]] == [
        ("alice", "valid"), ("bob", "revoked"), ("vpn.corp.example", "valid")]
    cert = read(ca / "issued" / "alice.crt")
    assert int(rows[1][1], 16) == cert.serial_number
    assert rows[1][2] == cert.not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_laptop_config_holds_everything(ca, tmp_path):
    ok("device", ca, "alice")
    default = ok("laptop-config", ca, "alice", "--gateway", "vpn.corp.example:8443").strip()
    assert default == str(ca / "issued" / "alice.conf")
    text = pathlib.Path(default).read_text()
    assert mode(pathlib.Path(default)) == 0o600
    for line in ('gateway = {"vpn.corp.example:8443"}', 'interface = "tund0"',
                 'peer-name = "vpn.corp.example"'):
        assert line in [stripped.strip() for stripped in text.splitlines()]
    for path in (ca / "issued" / "alice.crt", ca / "issued" / "alice.key", ca / "ca.crt"):
        assert f'"{path.read_text().strip()}"' in text

    chosen = tmp_path / "laptop.conf"
    chosen.write_text("old")
    chosen.chmod(0o644)
    ok("laptop-config", ca, "alice", "--gateway", "[2001:db8::1]:443", "--interface", "vpn7",
       "--peer-name", "vpn.corp.example", "--output", chosen)
    assert 'interface = "vpn7"' in chosen.read_text()
    assert 'peer-name = "vpn.corp.example"' in chosen.read_text()
    assert mode(chosen) == 0o600
    ok("laptop-config", ca, "alice", "--gateway", "[2001:db8::1]:443", "--output", chosen)
    assert 'peer-name = "2001:db8::1"' in chosen.read_text()


def test_two_at_once(ca):
    running = [subprocess.Popen([CA, "device", ca, f"d{i}"], stdout=subprocess.DEVNULL)
               for i in range(8)]
    running += [subprocess.Popen([CA, "crl", ca], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0] * 11
    assert len((ca / "index.txt").read_text().splitlines()) == 8
    serials = {read(ca / "issued" / f"d{i}.crt").serial_number for i in range(8)}
    assert len(serials) == 8
    assert all(verifies(ca, f"d{i}", "sslclient") for i in range(8))


def test_one_name_at_once(ca):
    running = [subprocess.Popen([CA, "device", ca, "alice"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(process.wait(60) for process in running) == [0, 1, 1, 1]


def test_the_systems_configuration_does_not_matter(tmp_path):
    broken = tmp_path / "openssl.cnf"
    broken.write_text("default_md = sha1\n[ca\n")
    env = {"PATH": os.environ["PATH"], "OPENSSL_CONF": str(broken)}
    assert run("init", tmp_path / "ca", env=env).returncode == 0
    assert run("device", tmp_path / "ca", "alice", env=env).returncode == 0
    assert verifies(tmp_path / "ca", "alice", "sslclient")


@pytest.mark.parametrize("arguments, text", [
    (("device", "DIR", "al ice"), 'bad name "al ice"'),
    (("device", "DIR", "../alice"), 'bad name "../alice"'),
    (("device", "DIR", "al/ice"), "bad name"),
    (("device", "DIR", "alice\n"), "bad name"),
    (("device", "DIR", "al$ice"), "bad name"),
    (("device", "DIR", "a" * 65), "bad name"),
    (("gateway", "DIR", "a@b"), 'bad DNS name "a@b"'),
    (("gateway", "DIR", "vpn", "--dns", "a b"), 'bad DNS name "a b"'),
    (("gateway", "DIR", "vpn", "--dns", "a..b"), "bad DNS name"),
    (("gateway", "DIR", "vpn", "--ip", "vpn"), 'bad address "vpn"'),
    (("device", "DIR", "a", "--email", "alice"), 'bad email address "alice"'),
    (("device", "DIR", "a", "--uri", "a b"), 'bad URI "a b"'),
    (("device", "DIR", "a", "--uri", "x:$HOME"), "bad URI"),
    (("device", "DIR", "a", "--organisation", "a\nb"), "bad organisation"),
    (("device", "DIR", "a", "--organisation", ""), "bad organisation"),
    (("device", "DIR", "a", "--unit", "u" * 65), "bad unit"),
    (("device", "DIR", "a", "--days", "0"), 'bad number of days "0"'),
    (("device", "DIR", "a", "--days", "-1"), "bad number of days"),
    (("device", "DIR", "a", "--algorithm", "rsa"), 'unknown algorithm "rsa"'),
    (("revoke", "DIR", "nobody"), "nobody has not been issued here"),
    (("revoke", "DIR", "nobody", "--reason", "anger"), 'unknown reason "anger"'),
    (("crl", "DIR", "--days", "soon"), 'bad number of days "soon"'),
    (("laptop-config", "DIR", "nobody", "--gateway", "a"), "nobody has not been issued here"),
    (("laptop-config", "DIR", "a", "--gateway", 'a"b'), 'bad gateway'),
    (("laptop-config", "DIR", "a", "--gateway", "a", "--interface", "a" * 16), "bad interface"),
    (("laptop-config", "DIR", "a", "--gateway", "a", "--peer-name", 'a"'), "bad peer name"),
    (("init", "DIR"), "exists already"),
    (("init", "DIR/new", "--algorithm", "rsa"), 'unknown algorithm "rsa"'),
    (("init", "DIR/new", "--name", "a\nb"), "bad name"),
    (("init", "DIR/no/new"), "is no directory"),
    (("device", "DIR/issued", "a"), "holds no authority"),
    (("list", "DIR/no"), "holds no authority"),
    (("list", "/no$such"), "bad directory"),
])
def test_refuses(ca, arguments, text):
    before = sorted(path.name for path in ca.rglob("*"))
    refused(text, *(argument.replace("DIR", str(ca)) for argument in arguments))
    assert [name for name in sorted(path.name for path in ca.rglob("*"))] == before


@pytest.mark.parametrize("arguments, text", [
    ((), "scripts/ca init"),
    (("sign", "DIR"), "unknown command sign"),
    (("init",), "init needs a DIR"),
    (("device", "DIR"), "device needs a NAME"),
    (("device", "DIR", "a", "--ip", "192.0.2.1"), "device has no option --ip"),
    (("site", "DIR", "a", "--email", "a@b"), "site has no option --email"),
    (("device", "DIR", "a", "--dns"), "--dns needs a value"),
    (("revoke", "DIR"), "revoke needs a NAME"),
    (("laptop-config", "DIR", "a"), "needs --gateway"),
    (("list", "DIR", "--all"), "list takes no options"),
    (("crl", "DIR", "30"), "crl takes --days"),
])
def test_usage(ca, arguments, text):
    refused(text, *(argument.replace("DIR", str(ca)) for argument in arguments), status=2)


def test_help():
    text = ok("help")
    for verb in ("init", "gateway", "device", "site", "revoke", "crl", "list", "laptop-config"):
        assert f"scripts/ca {verb} DIR" in text
    assert not any(line.startswith("#") for line in text.splitlines())


def test_without_openssl(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "sed"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    refused("openssl is missing", "init", tmp_path / "ca", env={"PATH": str(tools)})
