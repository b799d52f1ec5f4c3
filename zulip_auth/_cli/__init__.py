"""The `zulip-auth` command."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from zulip_auth._exceptions import (
    APIConnectionError,
    ConfigurationError,
    InvalidInputError,
    InvalidResponseError,
    RateLimitedError,
    ServerError,
    SSOFlowEndedError,
    ZulipAuthError,
)

from . import output
from .commands import run
from .parser import EXIT_CODES, parse

# The first match counts; other rejections by a server are NOPERM.
_EXIT_CODE_BY_ERROR: list[tuple[type[ZulipAuthError], str]] = [
    (InvalidInputError, "USAGE"),
    (ConfigurationError, "CONFIG"),
    (RateLimitedError, "TEMPFAIL"),
    (SSOFlowEndedError, "TEMPFAIL"),
    (ServerError, "UNAVAILABLE"),
    (APIConnectionError, "UNAVAILABLE"),
    (InvalidResponseError, "PROTOCOL"),
    (ZulipAuthError, "NOPERM"),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None for those of the
            process.

    Returns:
        0, one of the codes of BSD's sysexits.h that `--help` lists, or 130
        after Ctrl-C.
    """
    options = parse(argv)
    try:
        with output.show_retries(), warnings.catch_warnings():
            warnings.showwarning = output.show_warning
            result = run(options)
    except KeyboardInterrupt:
        output.print_err("")  # leave the line with the prompt and the ^C
        output.print_error("Interrupted.")
        return EXIT_CODES["INTERRUPTED"]
    except ZulipAuthError as error:
        output.print_error(str(error))
        return EXIT_CODES[
            next(name for exc_type, name in _EXIT_CODE_BY_ERROR if isinstance(error, exc_type))
        ]
    error_text = output.print_output(result)
    if error_text is not None:
        output.print_error(f"Done, but could not write the output: {error_text}.")
        return EXIT_CODES["IOERR"]
    return EXIT_CODES["OK"]
