"""The `zulip-auth` command."""

from .app import main as main
