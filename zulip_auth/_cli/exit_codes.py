"""The exit codes of the command line, with their errors."""

from __future__ import annotations

from zulip_auth import _exceptions

_TRY_LATER = "rate limited, or browser login expired; try again later"
# From BSD's sysexits.h; above 128, the shells' codes for signals. The most specific class counts.
EXIT_CODES: dict[int, tuple[str, tuple[type[_exceptions.ZulipAuthError], ...]]] = {
    0: ("success", ()),
    64: (
        "invalid arguments or input",
        (_exceptions.InvalidInputError, _exceptions.BadRequestError),
    ),
    69: (
        "server unreachable or failing",
        (_exceptions.APIConnectionError, _exceptions.ServerError),
    ),
    74: ("success, but the output could not be written", ()),
    75: (_TRY_LATER, (_exceptions.RateLimitedError, _exceptions.SSOFlowEndedError)),
    76: ("not a Zulip server", (_exceptions.InvalidResponseError,)),
    77: ("login or API key rejected", (_exceptions.ZulipAuthError,)),
    78: ("not logged in, or zuliprc or keyring not accessible", (_exceptions.ConfigurationError,)),
    129: ("terminal closed", ()),
    130: ("interrupted by Ctrl-C", ()),
    143: ("terminated", ()),
}
