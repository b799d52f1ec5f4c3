"""TLS contexts for servers and clients of tests."""

from __future__ import annotations

import ssl

import trustme


def client_context(test_ca: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts *test_ca*."""
    context = ssl.create_default_context()
    test_ca.configure_trust(context)
    return context


def server_context(test_ca: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return a server's context with a certificate for *name*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    test_ca.issue_cert(name).configure_cert(context)
    return context
