"""Certificates of any validity, purpose, name, path and key, and revocation lists of any kind."""

import datetime
import functools
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.utcnow().replace(microsecond=0)
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH

KEY_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
              "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@functools.lru_cache(maxsize=None)
def _rsa(bits, _nth):
    return rsa.generate_private_key(65537, bits)


_rsa_taken = {}


def make_key(kind="p256"):
    """A private key: p256, p384, ed25519, or rsa2048 and the like."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        nth = _rsa_taken[kind] = _rsa_taken.get(kind, -1) + 1
        return _rsa(int(kind[3:]), nth % 4)
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def key_usage(*allowed):
    return x509.KeyUsage(**{usage: usage in allowed for usage in KEY_USAGES})


def subject_name(cn=None, organisation=None, unit=None):
    parts = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
             (NameOID.COMMON_NAME, cn))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


def write_private(path, data):
    """A file nobody else may read from its first moment on."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    return Path(path)


def _signing_hash(key):
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


class Certificate:
    """A leaf with its key and the intermediates above it."""

    def __init__(self, cert, key, chain):
        self.cert = cert
        self.key = key
        self.chain = chain

    @property
    def serial(self):
        return f"{self.cert.serial_number:x}"

    def pem(self):
        return b"".join(c.public_bytes(serialization.Encoding.PEM)
                        for c in (self.cert, *self.chain))

    def key_pem(self):
        return self.key.private_bytes(serialization.Encoding.PEM,
                                      serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())

    def write(self, directory, name):
        """name.crt and name.key; the paths."""
        crt = Path(directory) / f"{name}.crt"
        crt.write_bytes(self.pem())
        return crt, write_private(Path(directory) / f"{name}.key", self.key_pem())


class Authority:
    def __init__(self, cn, parent=None, key="p256", path_length=None, not_before=None,
                 not_after=None, usages=("key_cert_sign", "crl_sign")):
        self.key = make_key(key)
        self.parent = parent
        self.name = subject_name(cn, organisation="Corp")
        builder = (x509.CertificateBuilder()
                   .subject_name(self.name)
                   .issuer_name(parent.name if parent else self.name)
                   .public_key(self.key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(not_before or NOW - 30 * DAY)
                   .not_valid_after(not_after or NOW + 365 * DAY)
                   .add_extension(x509.BasicConstraints(True, path_length), critical=True)
                   .add_extension(key_usage(*usages), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(
                       self.key.public_key()), critical=False))
        self.cert = self._sign(builder, parent or self)

    @staticmethod
    def _sign(builder, issuer):
        if getattr(issuer, "cert", None):
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
                critical=False)
        return builder.sign(issuer.key, _signing_hash(issuer.key))

    def chain(self):
        """Intermediates from this one upwards, the root left out."""
        return [self.cert, *self.parent.chain()] if self.parent else []

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def issue(self, cn, usages=(CLIENT_AUTH,), key="p256", dns=(), ip=(), email=(), uri=(),
              organisation="Corp", unit=None, not_before=None, not_after=None,
              key_usages=("digital_signature",), extensions=()):
        """A leaf; usages None leaves the extended key usage out."""
        secret = key if not isinstance(key, str) else make_key(key)
        names = [*map(x509.DNSName, dns), *map(x509.RFC822Name, email),
                 *map(x509.UniformResourceIdentifier, uri),
                 *(x509.IPAddress(ipaddress.ip_address(address)) for address in ip)]
        builder = (x509.CertificateBuilder()
                   .subject_name(subject_name(cn, organisation, unit))
                   .issuer_name(self.name)
                   .public_key(secret.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(not_before or NOW - HOUR)
                   .not_valid_after(not_after or NOW + 30 * DAY)
                   .add_extension(x509.BasicConstraints(False, None), critical=True)
                   .add_extension(key_usage(*key_usages), critical=True))
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Certificate(self._sign(builder, self), secret, self.chain())

    def crl(self, revoked=(), this_update=None, next_update=None, signer=None, number=1):
        """A list in this authority's name as PEM; signed by another's key when signer is given."""
        builder = (x509.CertificateRevocationListBuilder()
                   .issuer_name(self.name)
                   .last_update(this_update or NOW - HOUR)
                   .next_update(next_update or NOW + 7 * DAY)
                   .add_extension(x509.CRLNumber(number), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                       self.key.public_key()), critical=False))
        for certificate in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.cert.serial_number)
                .revocation_date(NOW - HOUR).build())
        key = (signer or self).key
        return builder.sign(key, _signing_hash(key)).public_bytes(serialization.Encoding.PEM)


def self_signed(cn, **options):
    """A certificate that vouches for itself and is no authority."""
    authority = Authority.__new__(Authority)
    authority.key, authority.parent = make_key(), None
    authority.name = subject_name(cn, organisation="Corp")
    return authority.issue(cn, key=authority.key, **options)


class Corp:
    """The usual company: one root, a gateway, devices by name, written into a directory."""

    def __init__(self, directory, gateway_name, gateway_addresses=()):
        self.directory = Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.root = Authority("Corp Root")
        self.ca = self.directory / "ca.crt"
        self.ca.write_bytes(self.root.pem())
        self.gateway = self.root.issue(gateway_name, usages=(SERVER_AUTH,), dns=[gateway_name],
                                       ip=gateway_addresses)
        self.gateway_files = self.gateway.write(self.directory, "gateway")

    def device(self, name, **options):
        """Issues and writes; (certificate path, key path), as a configuration wants them."""
        return self.write(name, self.root.issue(name, **options))

    def write(self, name, certificate):
        return certificate.write(self.directory, name)

    def write_crl(self, name="corp.crl", **options):
        path = self.directory / name
        path.write_bytes(self.root.crl(**options))
        return path
