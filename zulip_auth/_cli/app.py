"""Run a command: signals, warnings, error messages and exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from zulip_auth import _exceptions

from . import fake_server, output
from .exit_codes import EXIT_CODES
from .parser import parse

_HINTS = {
    _exceptions.TLSError: "A private CA: --cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH.",
}


class _Signaled(SystemExit):  # which asyncio lets pass
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
        return fake_server.run(arguments[1:])
    try:
        options = parse(arguments)
        with _exit_on_signals(), warnings.catch_warnings():
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


def _report(error: _exceptions.ZulipAuthError, *, as_json: bool) -> int:
    """Print an error, and return the exit code."""
    message = _describe(error)
    output.print_error(message)
    codes = {base: code for code, (_, bases) in EXIT_CODES.items() for base in bases}
    exit_code = next(codes[base] for base in type(error).__mro__ if base in codes)
    if as_json:
        import json  # here for a fast start

        fields = {"error": type(error).__name__, "message": message, "exit_code": exit_code}
        details = {name: getattr(error, name, None) for name in ("code", "retry_after")}
        with suppress(output.OutputError):  # the error is on standard error also
            output.print_output(json.dumps({**fields, **details}))
    return exit_code


def _run(options: argparse.Namespace) -> str:
    # The only lazy import: `--help`, `--version`, an invalid argument and `completion` need
    # neither asyncio nor httpx.
    if options.command == "completion":
        from .completion import run
    else:
        from .commands import run
    return run(options)


def _describe(error: _exceptions.ZulipAuthError) -> str:
    texts = [str(error), *getattr(error, "__notes__", [])]
    if isinstance(error, _exceptions.InsecureSiteError):
        advice = texts[0][max(0, texts[0].find("Use https://")) :].removesuffix(".")
        texts[0] = f"{advice}, or pass --allow-http to send the password unencrypted."
    # Other classes have a message of their own.
    is_general = type(error) in (_exceptions.APIStatusError, _exceptions.BadRequestError)
    if is_general and (message := vars(error)["message"]):
        texts.append(f"Server message: {message}")
    return " ".join(texts + [hint for base, hint in _HINTS.items() if isinstance(error, base)])


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Raise _Signaled for signals, so that the terminal is restored and files are removed."""

    def on_signal(signum: int, _frame: object) -> NoReturn:
        raise _Signaled(128 + signum)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    saved = {s: signal.getsignal(s) for s in signal.Signals if s.name in names}
    for signum, handler in saved.items():
        # nohup ignores SIGHUP.
        signal.signal(signum, handler if handler == signal.SIG_IGN else on_signal)
    try:
        yield
    finally:
        for signum, handler in saved.items():
            signal.signal(signum, handler)
