"""The stand-in server as a program: `python -m zulip_auth.testing`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import EADDRINUSE
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import NoReturn

from .accounts import Account, Realm
from .app import CONTROL_PATH
from .server import FakeZulip

_DEFAULT_ACCOUNTS = (("user", "iago@zulip.com:secret"), ("bot", "iago@zulip.com:Echo"))
_EPILOG = """\
The users and bots after a --realm belong to that organization. Without any, there are the user
iago@zulip.com with the password "secret", and the bot Echo.
"""
_INVALID_ARGUMENTS, _UNAVAILABLE, _CANNOT_WRITE = 64, 69, 73  # of sysexits.h
_POLL_INTERVAL = 0.2
_MAX_PORT = 65535


class _Error(Exception):
    """End the program with a message and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(argv: Sequence[str] | None = None, prog: str = "python -m zulip_auth.testing") -> int:
    """Run the server until it is interrupted, and return the exit code.

    Args:
        argv: Arguments; None for those of the process.
        prog: Name of the program in messages.

    Returns:
        130 after Ctrl-C, 143 after SIGTERM, 64 for invalid arguments, 69 if
        the server cannot listen, 73 if a file cannot be written.
    """
    options = _parser(prog).parse_args(argv)
    try:
        with _exit_on_signals(), ExitStack() as stack:
            _serve(options, stack)
    except _Error as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as received:
        return int(received.code or 0)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser with the exit code of sysexits.h."""

    def error(self, message: str) -> NoReturn:
        """End the program because of invalid arguments."""
        self.exit(_INVALID_ARGUMENTS, f"{self.prog}: {message} (see --help)\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog,
        description="Run a stand-in Zulip server, for tests and for trying things out.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=9991, help="port; 0 for a free one (9991)")
    for name, metavar, help_ in (
        ("realm", "HOST", "host name of an organization"),
        ("user", "EMAIL:PASSWORD", "a user"),
        ("bot", "OWNER:NAME", "a bot, and the email of its owner"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar=metavar,
            help=f"{help_}; can be repeated",
            action="append",
            dest="accounts",
            type=partial(_pair, name),
        )
    parser.add_argument(
        "--write", metavar="DIR", type=Path, help="write a zuliprc for each account"
    )
    parser.add_argument("--tls", action="store_true", help="use https, with a CA of its own")
    parser.add_argument(
        "--any-host", action="store_true", help="serve the first organization at any host name"
    )
    parser.set_defaults(accounts=[])
    return parser


def _pair(name: str, value: str) -> tuple[str, str]:
    return name, value


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {_MAX_PORT}")
    return int(value)


def _serve(options: argparse.Namespace, stack: ExitStack) -> NoReturn:
    accounts = options.accounts or _DEFAULT_ACCOUNTS
    if not any(kind == "user" for kind, _ in accounts):
        accounts = [*accounts, *_DEFAULT_ACCOUNTS]
    hosts = [value for kind, value in accounts if kind == "realm"]
    directory: Path | None = options.write
    if directory is not None:
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
    ca_path, ssl_context = None, None
    if options.tls:
        ca_path = (directory or Path(stack.enter_context(TemporaryDirectory()))) / "ca.pem"
        ssl_context = _make_context(ca_path, {options.host, "localhost", "127.0.0.1", *hosts})
    server = FakeZulip(
        host=options.host,
        port=options.port,
        realm_host=hosts[0] if accounts[0][0] == "realm" else None,
        any_host=options.any_host,
        ssl_context=ssl_context,
    )
    added = _add_accounts(server, accounts)
    try:
        stack.enter_context(server)
    except OSError as error:
        hint = " Pass another --port, or --port 0 for a free one." * (error.errno == EADDRINUSE)
        where = f"{options.host}:{options.port}"
        msg = f"Could not listen on {where}: {error.strerror}.{hint}"
        raise _Error(msg, _UNAVAILABLE) from None
    zuliprcs = _write_zuliprcs(server, added, directory, ca_path) if directory else {}
    print(_greeting(server, added, zuliprcs, ca_path), flush=True)
    printed = 0
    while True:
        time.sleep(_POLL_INTERVAL)
        _ = server.site  # an error if the thread of the server has died
        for name in server.unserved[printed:]:
            print(f"FakeZulip does not serve {name}.", file=sys.stderr, flush=True)
            printed += 1


def _add_accounts(
    server: FakeZulip, accounts: Sequence[tuple[str, str]]
) -> list[tuple[Realm, Account]]:
    """Create the organizations and accounts of the options, and return the accounts."""
    realm, added = server.realm, []
    for number, (kind, value) in enumerate(accounts):
        if kind == "realm":
            realm = realm if number == 0 else server.add_realm(value)
            continue
        email, colon, rest = value.partition(":")
        if not (email and colon and rest) or "/" in email:
            form = "EMAIL:PASSWORD" if kind == "user" else "OWNER:NAME"
            raise _Error(f"argument --{kind}: expected {form}", _INVALID_ARGUMENTS)
        if kind == "bot" and realm.find(email) is None:
            raise _Error(f"argument --bot: no --user {email} before it", _INVALID_ARGUMENTS)
        if kind == "user" and realm.find(email):
            raise _Error(f"argument --user: {email} occurs twice", _INVALID_ARGUMENTS)
        try:
            add = realm.add_user if kind == "user" else realm.add_bot
            added.append((realm, add(email, rest)))
        except ValueError as error:
            raise _Error(f"argument --bot: {error}", _INVALID_ARGUMENTS) from None
    return added


def _write_zuliprcs(
    server: FakeZulip,
    accounts: Sequence[tuple[Realm, Account]],
    directory: Path,
    ca_path: Path | None,
) -> dict[Account, Path]:
    """Write a zuliprc for each account, and return their paths."""
    paths = {}
    for realm, account in accounts:
        prefix = "" if realm is server.realm else f"{realm.host}-"
        path = paths[account] = directory / f"{prefix}{account.email}.zuliprc"
        text = f"[api]\nemail = {account.email}\nkey = {account.api_key}\nsite = {realm.site}\n"
        _write(path, text + (f"cert_bundle = {ca_path.absolute()}\n" if ca_path else ""))
    return paths


def _greeting(
    server: FakeZulip,
    accounts: Sequence[tuple[Realm, Account]],
    zuliprcs: dict[Account, Path],
    ca_path: Path | None,
) -> str:
    lines = [f"FakeZulip is running at {server.site}"]
    for realm, account in accounts:
        secret = f"API key {account.api_key}" if account.is_bot else f"password {account.password}"
        where = "" if realm is server.realm else f" at {realm.site}"
        kind = "bot " if account.is_bot else "user"
        zuliprc = f", zuliprc {zuliprcs[account]}" if account in zuliprcs else ""
        lines.append(f"  {kind}  {account.email}{where}: {secret}{zuliprc}")
    if ca_path:
        lines.append(f"  CA    {ca_path.absolute()}")
    realm, account = accounts[-1]
    curl = f"curl --cacert {shlex.quote(str(ca_path))}" if ca_path else "curl"
    home, user = next(item for item in accounts if not item[1].is_bot)
    key = shlex.quote(f"{account.email}:{account.api_key}")
    fault = shlex.quote('{"path": "/api/v1/users/me", "status": 502}')
    bundle = f" --cert-bundle {shlex.quote(str(ca_path))}" if ca_path else ""
    lines += [
        "\nTry:",
        f"  zulip-auth login {home.site} {shlex.quote(user.email)}{bundle}",
        f"  {curl} -u {key} {realm.site}/api/v1/users/me",
        f"  {curl} -u {key} {realm.site}/api/v1/messages"
        " -d type=channel -d to=general -d topic=hello -d content=hi",
        f"  {curl} {realm.site}{CONTROL_PATH}fail_next"
        f" -H 'Content-Type: application/json' -d {fault}",
        "\nPress Ctrl-C to stop.",
    ]
    return "\n".join(lines)


def _make_context(ca_path: Path, names: set[str]) -> ssl.SSLContext:
    """Return a context with a certificate for some names, and write that of its CA."""
    try:
        import trustme  # takes 0.1 s
    except ModuleNotFoundError:
        msg = "--tls requires an extra: pip install 'zulip-auth[testing]', in a clone '.[testing]'"
        raise _Error(msg, _UNAVAILABLE) from None
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*sorted(names)).configure_cert(context)
    _write(ca_path, ca.cert_pem.bytes().decode())
    return context


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    with _writing(path):
        descriptor, temporary = mkstemp(dir=path.parent)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
        os.replace(temporary, path)  # noqa: PTH105


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _Error(f"Could not write {path}: {error.strerror}", _CANNOT_WRITE) from None


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Raise SystemExit for signals, so that files are removed and the port is free."""

    def on_signal(signum: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + signum)

    saved = {signum: signal.signal(signum, on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in saved.items():
            signal.signal(signum, handler)
