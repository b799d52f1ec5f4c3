"""The command line: `zulip-auth`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from zulip_auth._exceptions import (
    APIConnectionError,
    InvalidInputError,
    InvalidResponseError,
    RateLimitedError,
    ServerError,
    SSOFlowEndedError,
    ZulipAuthError,
    ZuliprcError,
)

from . import output
from .commands import run
from .parser import EXIT_CODES, parse

# The first that fits; whatever else a server refuses is NOPERM.
_BY_ERROR: list[tuple[type[ZulipAuthError], str]] = [
    (InvalidInputError, "USAGE"),
    (ZuliprcError, "CONFIG"),
    (RateLimitedError, "TEMPFAIL"),
    (SSOFlowEndedError, "TEMPFAIL"),
    (ServerError, "UNAVAILABLE"),
    (APIConnectionError, "UNAVAILABLE"),
    (InvalidResponseError, "PROTOCOL"),
    (ZulipAuthError, "NOPERM"),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name; None for what it was
            started with.

    Returns:
        0, or one of the codes of BSD's sysexits that `--help` lists; 130 after
        Ctrl-C.
    """
    options = parse(arguments)
    try:
        with output.retries_reported(), warnings.catch_warnings():
            warnings.showwarning = output.warn
            text = run(options)
    except KeyboardInterrupt:
        output.say("")  # off the line with the prompt and the ^C
        output.complain("Interrupted.")
        return EXIT_CODES["INTERRUPTED"]
    except ZulipAuthError as error:
        output.complain(str(error))
        return EXIT_CODES[next(name for kind, name in _BY_ERROR if isinstance(error, kind))]
    problem = output.write(text)
    if problem is not None:
        output.complain(f"It is done, but cannot be said: {problem}.")
        return EXIT_CODES["IOERR"]
    return EXIT_CODES["OK"]
