"""The exit codes of the command line, with their errors."""

from __future__ import annotations

import zulip_auth

_TRY_LATER = "rate limited, or browser login expired; try again later"
# From BSD's sysexits.h; above 128, the shells' codes for signals. The most specific class counts.
EXIT_CODES: dict[int, tuple[str, tuple[type[zulip_auth.ZulipAuthError], ...]]] = {
    0: ("success", ()),
    64: ("invalid arguments or input", (zulip_auth.InvalidInputError,)),
    69: ("server unreachable or failing", (zulip_auth.APIConnectionError, zulip_auth.ServerError)),
    74: ("success, but the output could not be written", ()),
    75: (_TRY_LATER, (zulip_auth.RateLimitedError, zulip_auth.SSOFlowEndedError)),
    76: ("not a Zulip server", (zulip_auth.InvalidResponseError,)),
    77: ("login or API key rejected", (zulip_auth.ZulipAuthError,)),
    78: ("not logged in, or zuliprc or keyring not accessible", (zulip_auth.ConfigurationError,)),
    129: ("terminal closed", ()),
    130: ("interrupted by Ctrl-C", ()),
    143: ("terminated", ()),
}
