"""Run a command: signals, warnings, error messages and exit codes."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from zulip_auth import _exceptions

from . import output
from .exit_codes import EXIT_CODES
from .parser import parse

_CA_HINT = "A private CA: --cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH."


class _Signaled(SystemExit):
    """A signal ends the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None for those of the
            process.

    Returns:
        0, one of the codes of BSD's sysexits.h that `--help` lists, or 128 and
        the number of the signal that ended the command.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["fake-server"]:
        return _run_fake_server(arguments[1:])
    try:
        options = parse(arguments)
        with _raise_signals(), warnings.catch_warnings():
            # One line for each, and no exceptions if PYTHONWARNINGS is "error".
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_: output.print_error(str(message))
            output.print_output(_run(options))
    except _Signaled as signaled:
        # Leave the line with the prompt and the ^C.
        output.print_err("", end="\n" if output.is_interactive() else "")
        output.print_error("Interrupted." if signaled.code == 130 else "Terminated.")
        return int(signaled.code or 0)
    except output.OutputError as error:
        output.print_error(f"Done, but could not write the output: {error}.")
        return 74
    except _exceptions.ZulipAuthError as error:
        return _report(error, as_json="--json" in arguments)
    return 0


def _run_fake_server(arguments: Sequence[str]) -> int:
    try:
        from zulip_auth.testing.program import main as run
    except ModuleNotFoundError as error:  # of the extra
        output.print_error(str(error))
        return 78
    return run(arguments, "zulip-auth fake-server")


def _run(options: argparse.Namespace) -> str:
    # A lazy import: `--help`, `--version`, an invalid argument and `completion` need neither
    # asyncio nor httpx.
    if options.command == "completion":
        from .completion import run
    else:
        from .commands import run
    return run(options)


def _report(error: _exceptions.ZulipAuthError, *, as_json: bool) -> int:
    """Print an error, and return the exit code."""
    message = _describe(error)
    output.print_error(message)
    codes = {base: code for code, (_, bases) in EXIT_CODES.items() for base in bases}
    exit_code = next(codes[base] for base in type(error).__mro__ if base in codes)
    if as_json:
        fields = {"error": type(error).__name__, "message": message, "exit_code": exit_code}
        details = {name: getattr(error, name, None) for name in ("code", "retry_after")}
        with suppress(output.OutputError):  # the error is on standard error also
            output.print_output(json.dumps({**fields, **details}))
    return exit_code


def _describe(error: _exceptions.ZulipAuthError) -> str:
    texts = [str(error), *getattr(error, "__notes__", [])]
    if isinstance(error, _exceptions.InsecureSiteError):
        advice = texts[0][max(0, texts[0].find("Use https://")) :].removesuffix(".")
        texts[0] = f"{advice}, or pass --allow-http to send the password unencrypted."
    if isinstance(error, _exceptions.TLSError):
        texts.append(_CA_HINT)
    # Other classes have a message of their own.
    is_general = type(error) in (_exceptions.APIStatusError, _exceptions.BadRequestError)
    if is_general and (message := vars(error)["message"]):
        texts.append(f"Server message: {message}")
    return " ".join(texts)


@contextmanager
def _raise_signals() -> Iterator[None]:
    """Raise _Signaled for signals, so that the terminal is restored and files are removed."""

    def on_signal(signum: int, _frame: object) -> NoReturn:
        for each in saved:  # a second one would end the cleanup
            signal.signal(each, signal.SIG_IGN)
        raise _Signaled(128 + signum)

    saved = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for signum, handler in saved.items():
        # nohup ignores SIGHUP.
        signal.signal(signum, handler if handler == signal.SIG_IGN else on_signal)
    try:
        yield
    finally:
        for signum, handler in saved.items():
            signal.signal(signum, handler)
