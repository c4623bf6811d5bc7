"""OpenSSL by ctypes, for what Python's ssl module has not: the exporter, DTLS with a PSK, every
message as it passes. Both ends of it are bytes in memory; whoever uses it moves them."""

import ctypes
import hashlib
from ctypes import (CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64,
                    c_void_p, create_string_buffer, string_at)
from dataclasses import dataclass

TLS1_2, TLS1_3, DTLS1_0, DTLS1_2 = 0x0303, 0x0304, 0xFEFF, 0xFEFD
ALERT, HANDSHAKE, DATA, RECORD_HEADER = 21, 22, 23, 0x100
CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY, NEW_TICKET = 1, 2, 3, 4
CERTIFICATE_REQUEST = 13

NO_EXTENDED_MASTER_SECRET, NO_QUERY_MTU, NO_TICKET, NO_ENCRYPT_THEN_MAC = (
    1 << 0, 1 << 12, 1 << 14, 1 << 19)
WANT_READ, ZERO_RETURN = 2, 6
EXPORTER = b"EXPORTER-openconnect-psk"
PSK_SUITES = "PSK-AES256-GCM-SHA384:PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256"

_ssl = ctypes.CDLL("libssl.so.3")
_crypto = ctypes.CDLL("libcrypto.so.3")
_MESSAGE = CFUNCTYPE(None, c_int, c_int, c_int, c_void_p, c_size_t, c_void_p, c_void_p)
_PSK_SERVER = CFUNCTYPE(c_uint, c_void_p, c_char_p, c_void_p, c_uint)
_PSK = CFUNCTYPE(c_uint, c_void_p, c_char_p, c_void_p, c_uint, c_void_p, c_uint)


def _bind(library, result, **functions):
    for name, arguments in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


P = c_void_p
_bind(_crypto, P, BIO_new=[P], BIO_s_mem=[], d2i_X509=[POINTER(P), POINTER(c_char_p), c_long])
_bind(_crypto, c_int, BIO_read=[P, c_char_p, c_int], BIO_write=[P, c_char_p, c_int])
_bind(_crypto, c_size_t, BIO_ctrl_pending=[P])
_bind(_crypto, ctypes.c_ulong, ERR_get_error=[])
_bind(_crypto, None, ERR_clear_error=[])
_bind(_crypto, c_char_p, ERR_reason_error_string=[ctypes.c_ulong])
_bind(_ssl, P, TLS_client_method=[], DTLS_client_method=[], TLS_server_method=[],
      DTLS_server_method=[], SSL_CTX_new=[P], SSL_new=[P], SSL_CTX_get0_certificate=[P],
      SSL_get1_session=[P], SSL_SESSION_new=[], SSL_CIPHER_find=[P, c_char_p],
      SSL_get_current_cipher=[P])
_bind(_ssl, None, SSL_CTX_free=[P], SSL_free=[P], SSL_set_bio=[P, P, P], SSL_set_connect_state=[P],
      SSL_set_accept_state=[P], SSL_CTX_set_verify=[P, c_int, P],
      SSL_CTX_set_psk_server_callback=[P, _PSK_SERVER],
      SSL_set_msg_callback=[P, _MESSAGE], SSL_SESSION_free=[P],
      SSL_CTX_set_psk_client_callback=[P, _PSK])
_bind(_ssl, c_long, SSL_ctrl=[P, c_int, c_long, P], SSL_CTX_ctrl=[P, c_int, c_long, P])
_bind(_ssl, c_uint64, SSL_CTX_set_options=[P, c_uint64])
_bind(_ssl, c_char_p, SSL_get_version=[P], SSL_CIPHER_get_name=[P])
_bind(_ssl, c_int, SSL_do_handshake=[P], SSL_read=[P, c_char_p, c_int],
      SSL_write=[P, c_char_p, c_int], SSL_get_error=[P, c_int],
      SSL_CTX_use_certificate_chain_file=[P, c_char_p],
      SSL_CTX_use_PrivateKey_file=[P, c_char_p, c_int], SSL_CTX_set_cipher_list=[P, c_char_p],
      SSL_CTX_load_verify_locations=[P, c_char_p, c_char_p],
      SSL_set_alpn_protos=[P, c_char_p, c_uint], SSL_set_session=[P, P],
      SSL_session_reused=[P], SSL_renegotiate=[P], SSL_shutdown=[P], SSL_key_update=[P, c_int],
      SSL_SESSION_set1_id=[P, c_char_p, c_uint], SSL_SESSION_set_cipher=[P, P],
      SSL_SESSION_set_protocol_version=[P, c_int],
      SSL_SESSION_set1_master_key=[P, c_char_p, c_size_t],
      SSL_export_keying_material=[P, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t,
                                  c_int])
_bind(_ssl, None, SSL_get0_alpn_selected=[P, POINTER(P), POINTER(c_uint)])

# SSL_ctrl
_SET_MTU, _SET_SERVER_NAME, _HANDLE_TIMEOUT, _GET_EMS, _SET_MIN, _SET_MAX = (
    17, 55, 74, 122, 123, 124)


# SSL_CTX_ctrl
_ADD_CHAIN_CERTIFICATE = 89
# An X509 begins with what is signed (X509_CINF), which keeps its encoding: the address stands there.
_SIGNED_BYTES_AT = 112


@dataclass
class Shown:
    """Certificates in DER, the leaf first. instead: a leaf that OpenSSL can read where it cannot read
    the first, with as many bytes signed."""

    certificates: list
    instead: bytes = None


EVERY_KEY = "DEFAULT:@SECLEVEL=0"  # ciphers, for keys and signatures of any weakness


class OpensslError(Exception):
    pass


class Engine:
    """One SSL object between two buffers."""

    def __init__(self, method, versions, options=0, ciphers=None, credentials=None, psk=None,
                 authority=None, shown=None):
        """authority: a server's, whose certificates it demands. shown: certificates to send in the place
        of those that the key belongs to."""
        is_server = method in (_ssl.TLS_server_method, _ssl.DTLS_server_method)
        self.messages = []  # (is ours, content type, bytes)
        self.established = False
        context = _ssl.SSL_CTX_new(method())
        _ssl.SSL_CTX_ctrl(context, _SET_MIN, versions[0], None)
        _ssl.SSL_CTX_ctrl(context, _SET_MAX, versions[1], None)
        _ssl.SSL_CTX_set_options(context, options)
        if ciphers:
            self._must(_ssl.SSL_CTX_set_cipher_list(context, ciphers.encode()))
        if credentials:
            certificate, key = (str(path).encode() for path in credentials)
            self._must(_ssl.SSL_CTX_use_certificate_chain_file(context, certificate))
            self._must(_ssl.SSL_CTX_use_PrivateKey_file(context, key, 1))
        if shown:
            self._show(context, *shown.certificates, instead=shown.instead)
        if authority:
            self._must(_ssl.SSL_CTX_load_verify_locations(context, str(authority).encode(), None))
            _ssl.SSL_CTX_set_verify(context, 3, None)
        self._callbacks = [_MESSAGE(self._on_message)]
        if psk and is_server:
            self._callbacks.append(self._psk_answer(psk))
            _ssl.SSL_CTX_set_psk_server_callback(context, self._callbacks[1])
        elif psk:
            self._callbacks.append(self._psk_callback(*psk))
            _ssl.SSL_CTX_set_psk_client_callback(context, self._callbacks[1])
        self.ssl = _ssl.SSL_new(context)
        _ssl.SSL_CTX_free(context)
        _ssl.SSL_set_msg_callback(self.ssl, self._callbacks[0])
        self._in, self._out = (_crypto.BIO_new(_crypto.BIO_s_mem()) for _ in range(2))
        _ssl.SSL_set_bio(self.ssl, self._in, self._out)
        (_ssl.SSL_set_accept_state if is_server else _ssl.SSL_set_connect_state)(self.ssl)

    def __del__(self):
        if getattr(self, "ssl", None):
            _ssl.SSL_free(self.ssl)

    @staticmethod
    def _must(result):
        if result != 1:
            raise OpensslError(Engine._reason())

    @classmethod
    def _show(cls, context, leaf, *others, instead=None):
        cls._read_certificate(instead or leaf, _ssl.SSL_CTX_get0_certificate(context))
        if instead:
            signed = leaf[4:8 + int.from_bytes(leaf[6:8], "big")]
            at = c_void_p.from_address(_ssl.SSL_CTX_get0_certificate(context) + _SIGNED_BYTES_AT)
            assert string_at(at, 4) == signed[:4], "an X509 is laid out in another way"
            ctypes.memmove(at, signed, len(signed))
        for other in others:
            cls._must(_ssl.SSL_CTX_ctrl(context, _ADD_CHAIN_CERTIFICATE, 0,
                                        cls._read_certificate(other)))

    @classmethod
    def _read_certificate(cls, der, over=None):
        """A new certificate, or what becomes of one there is already."""
        cert = c_void_p(over)
        if not _crypto.d2i_X509(byref(cert), byref(c_char_p(der)), len(der)):
            raise OpensslError(cls._reason())
        return cert

    @staticmethod
    def _reason():
        text = _crypto.ERR_reason_error_string(_crypto.ERR_get_error())
        return text.decode() if text else "unknown error"

    @staticmethod
    def _psk_callback(identity, psk):
        def answer(_ssl_object, _hint, name, _name_max, key, key_max):
            if len(psk) > key_max:
                return 0
            ctypes.memmove(name, identity + b"\0", len(identity) + 1)
            ctypes.memmove(key, psk, len(psk))
            return len(psk)

        return _PSK(answer)

    @staticmethod
    def _psk_answer(psk):
        def answer(_ssl_object, _identity, key, key_max):
            if len(psk) > key_max:
                return 0
            ctypes.memmove(key, psk, len(psk))
            return len(psk)

        return _PSK_SERVER(answer)

    def _on_message(self, ours, _version, kind, data, size, _ssl_object, _argument):
        self.messages.append((bool(ours), kind, string_at(data, size) if size else b""))

    # Bytes.

    def feed(self, data):
        _crypto.BIO_write(self._in, data, len(data))

    def drain(self):
        size = _crypto.BIO_ctrl_pending(self._out)
        data = create_string_buffer(size)
        _crypto.BIO_read(self._out, data, size)
        return data.raw

    # What an SSL object does: each says None for "feed me", and raises what ends it.

    def _none_if_waiting(self, result):
        code = _ssl.SSL_get_error(self.ssl, result)
        if code == WANT_READ:
            return None
        if code == ZERO_RETURN:
            return b""
        raise OpensslError(self._reason())

    def handshake(self):
        _crypto.ERR_clear_error()
        result = _ssl.SSL_do_handshake(self.ssl)
        if result == 1:
            self.established = True
            return True
        return self._none_if_waiting(result)

    def read(self):
        """One record."""
        _crypto.ERR_clear_error()
        data = create_string_buffer(16384)
        result = _ssl.SSL_read(self.ssl, data, len(data))
        return data.raw[:result] if result > 0 else self._none_if_waiting(result)

    def write(self, data):
        """One record."""
        _crypto.ERR_clear_error()
        if _ssl.SSL_write(self.ssl, data, len(data)) != len(data):
            raise OpensslError(self._reason())

    def shutdown(self):
        """close_notify."""
        _ssl.SSL_shutdown(self.ssl)

    def handle_timeout(self):
        _ssl.SSL_ctrl(self.ssl, _HANDLE_TIMEOUT, 0, None)

    # What became of it.

    def received(self, kind):
        return [data for ours, content, data in self.messages if not ours and content == kind]

    @property
    def alert(self):
        """The last alert that came, or None."""
        alerts = self.received(ALERT)
        return alerts[-1][1] if alerts else None

    def got_handshake(self, message):
        return any(data[:1] == bytes([message]) for data in self.received(HANDSHAKE))

    @property
    def short_id(self):
        """Of the handshake, as tund logs it; None before both have said hello."""
        hellos = {data[0]: data for _, content, data in self.messages
                  if content == HANDSHAKE and data[0] in (CLIENT_HELLO, SERVER_HELLO)}
        if len(hellos) < 2:
            return None
        randoms = hellos[CLIENT_HELLO][6:38] + hellos[SERVER_HELLO][6:38]
        return hashlib.sha256(randoms).hexdigest()[:8]

    @property
    def version(self):
        return _ssl.SSL_get_version(self.ssl).decode()

    @property
    def cipher(self):
        return _ssl.SSL_CIPHER_get_name(_ssl.SSL_get_current_cipher(self.ssl)).decode()

    @property
    def resumed(self):
        return _ssl.SSL_session_reused(self.ssl) == 1


class Tls(Engine):
    def __init__(self, credentials=None, server_name=None, alpn=None, versions=(TLS1_3, TLS1_3),
                 resume=None, ciphers=None, shown=None):
        super().__init__(_ssl.TLS_client_method, versions, ciphers=ciphers,
                         credentials=credentials, shown=shown)
        if server_name:
            _ssl.SSL_ctrl(self.ssl, _SET_SERVER_NAME, 0, ctypes.cast(
                c_char_p(server_name.encode()), P))
        if alpn:
            offer = bytes([len(alpn)]) + alpn
            _ssl.SSL_set_alpn_protos(self.ssl, offer, len(offer))
        if resume:
            session = _ssl.SSL_get1_session(resume.ssl)
            _ssl.SSL_set_session(self.ssl, session)
            _ssl.SSL_SESSION_free(session)

    def psk(self):
        key = create_string_buffer(32)
        self._must(_ssl.SSL_export_keying_material(self.ssl, key, 32, EXPORTER, len(EXPORTER),
                                                   None, 0, 0))
        return key.raw

    def alpn(self):
        name, size = P(), c_uint()
        _ssl.SSL_get0_alpn_selected(self.ssl, byref(name), byref(size))
        return string_at(name, size.value) if size.value else None

    def update_keys(self):
        """Ours, and the peer's are asked for."""
        self._must(_ssl.SSL_key_update(self.ssl, 1))


class TlsServer(Tls):
    """Demands a certificate of the authority."""

    def __init__(self, credentials, authority, versions=(TLS1_3, TLS1_3), ciphers=None,
                 shown=None):
        Engine.__init__(self, _ssl.TLS_server_method, versions, NO_TICKET, ciphers,
                        credentials=credentials, authority=authority, shown=shown)


class DtlsServer(Engine):
    def __init__(self, psk, suites=PSK_SUITES):
        super().__init__(_ssl.DTLS_server_method, (DTLS1_2, DTLS1_2), NO_TICKET | NO_QUERY_MTU,
                         suites, psk=psk)
        _ssl.SSL_ctrl(self.ssl, _SET_MTU, 1400, None)


class Dtls(Engine):
    """A client whose hello carries app_id as its session id."""

    def __init__(self, psk, app_id, suites=PSK_SUITES, ems=True, versions=(DTLS1_2, DTLS1_2),
                 identity=b"psk"):
        options = NO_TICKET | NO_QUERY_MTU
        if not ems:
            options |= NO_EXTENDED_MASTER_SECRET | NO_ENCRYPT_THEN_MAC
        super().__init__(_ssl.DTLS_client_method, versions, options, suites,
                         psk=(identity, psk))
        _ssl.SSL_ctrl(self.ssl, _SET_MTU, 1400, None)
        if app_id:
            self._place(app_id, versions[1])

    def _place(self, app_id, version):
        session = _ssl.SSL_SESSION_new()
        self._must(_ssl.SSL_SESSION_set1_id(session, app_id, len(app_id)))
        self._must(_ssl.SSL_SESSION_set_protocol_version(session, version))
        self._must(_ssl.SSL_SESSION_set_cipher(session,
                                               _ssl.SSL_CIPHER_find(self.ssl, b"\x00\xa8")))
        self._must(_ssl.SSL_SESSION_set1_master_key(session, bytes(48), 48))
        self._must(_ssl.SSL_set_session(self.ssl, session))
        _ssl.SSL_SESSION_free(session)

    def renegotiate(self):
        self._must(_ssl.SSL_renegotiate(self.ssl))
        return self.handshake()

    @property
    def ems(self):
        return _ssl.SSL_ctrl(self.ssl, _GET_EMS, 0, None) == 1
