"""Run a command: signals, warnings, error messages and exit codes."""

from __future__ import annotations

import argparse
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import zulip_auth

from . import output
from .parser import parse

# The most specific class counts.
EXIT_CODES: dict[type[BaseException], int] = {
    zulip_auth.InvalidInputError: 64,
    zulip_auth.ServerError: 69,
    zulip_auth.APIConnectionError: 69,
    zulip_auth.RateLimitedError: 75,
    zulip_auth.SSOFlowEndedError: 75,
    zulip_auth.InvalidResponseError: 76,
    zulip_auth.ZulipAuthError: 77,
    zulip_auth.ConfigurationError: 78,
}

_HINTS = {
    zulip_auth.TLSError: "A private CA: --cert-bundle, ZULIP_CERT_BUNDLE, or cert_bundle = PATH.",
    zulip_auth.InsecureSiteError: "To do so, pass --allow-http.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None for those of the
            process.

    Returns:
        0, one of the codes of BSD's sysexits.h that `--help` lists, or 128 and
        the number of the signal that ended the command.
    """
    options = parse(argv)
    try:
        with _exit_on_signals(), warnings.catch_warnings():
            # One line for each, and no exceptions if PYTHONWARNINGS is "error".
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = output.show_warning
            output.print_output(_run(options))
    except SystemExit as received:
        if output.is_interactive():
            output.print_err("")  # leave the line with the prompt and the ^C
        output.print_error("Interrupted." if received.code == 130 else "Terminated.")
        return int(received.code or 0)
    except output.OutputError as error:
        output.print_error(f"Done, but could not write the output: {error}.")
        return 74
    except zulip_auth.ZulipAuthError as error:
        output.print_error(_describe(error))
        return exit_code(type(error))
    return 0


def exit_code(error: type[zulip_auth.ZulipAuthError]) -> int:
    """Return the exit code for an error class."""
    return next(EXIT_CODES[base] for base in error.__mro__ if base in EXIT_CODES)


def _run(options: argparse.Namespace) -> str:
    # The only lazy imports: `--help`, `--version`, an invalid argument and `completion`
    # need neither asyncio nor httpx.
    if options.command == "completion":
        from .completion import render_completion

        return render_completion(options.shell)
    from .commands import run

    return run(options)


def _describe(error: zulip_auth.ZulipAuthError) -> str:
    texts = [str(error), *getattr(error, "__notes__", [])]
    # Other classes have a message of their own.
    if type(error) in (zulip_auth.APIStatusError, zulip_auth.BadRequestError):
        texts += [f"Server message: {message}" for message in [vars(error)["message"]] if message]
    return " ".join(texts + [hint for base, hint in _HINTS.items() if isinstance(error, base)])


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Raise SystemExit for signals, so that the terminal is restored and files are removed."""

    def on_signal(signum: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + signum)  # which asyncio lets pass

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    saved = {signum: signal.getsignal(signum) for signum in (getattr(signal, n) for n in names)}
    for signum, handler in saved.items():
        signal.signal(signum, handler if handler == signal.SIG_IGN else on_signal)  # as by nohup
    try:
        yield
    finally:
        for signum, handler in saved.items():
            signal.signal(signum, handler)
