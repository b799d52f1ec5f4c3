"""The command that runs a stand-in server. Its options are those of `zulip_auth.testing`."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from .output import print_error


def run(arguments: Sequence[str]) -> int:
    """Run the server until it is interrupted, and return the exit code."""
    gc.enable()  # disabled for commands that end soon
    try:
        from zulip_auth.testing.program import main
    except ModuleNotFoundError as error:
        print_error(str(error))
        return 78
    return main(arguments, "zulip-auth fake-server")
