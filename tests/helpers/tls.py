"""TLS contexts for servers and clients of tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from tempfile import NamedTemporaryFile

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def client_context(test_ca: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts *test_ca*."""
    context = ssl.create_default_context()
    test_ca.configure_trust(context)
    return context


def server_context(
    test_ca: trustme.CA,
    name: str = "127.0.0.1",
    *,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> ssl.SSLContext:
    """Return a server's context with a certificate for *name*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert = test_ca.issue_cert(name, not_before=not_before, not_after=not_after)
    cert.configure_cert(context)
    return context


def lax_contexts(*, is_ca: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server and its client with a CA of few extensions.

    Python 3.13 and later reject such a CA by default, older versions with a flag.

    Args:
        is_ca: Whether basicConstraints of the CA is true, and the flag set.
    """
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lax CA")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    ca = builder.subject_name(name).public_key(ca_key.public_key())
    ca = ca.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    leaf = builder.subject_name(x509.Name([])).public_key(key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName([address]), critical=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encoding = serialization.Encoding.PEM
    with NamedTemporaryFile() as file:
        file.write(leaf.sign(ca_key, hashes.SHA256()).public_bytes(encoding))
        file.write(
            key.private_bytes(
                encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        server.load_cert_chain(file.name)
    pem = ca.sign(ca_key, hashes.SHA256()).public_bytes(encoding)
    client = ssl.create_default_context(cadata=pem.decode())
    if is_ca:
        client.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return server, client
