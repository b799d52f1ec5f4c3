"""zulip-run-bot helloworld, with a key that may change in the zuliprc.

usage: zulip_bots_rotation.py ZULIPRC
"""

import sys

import requests
import zulip
import zulip_bots.lib
import zulip_bots.run

from zulip_auth import Credentials


class ZuliprcAuth(requests.auth.AuthBase):
    """Authenticate each request with the key that the zuliprc has now."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header of a request."""
        basic = requests.auth.HTTPBasicAuth(*Credentials.load(self.path).basic_auth)
        return basic(request)


class Client(zulip.Client):
    """Zulip's client, which otherwise reads the key once."""

    def ensure_session(self) -> None:
        """Create the session."""
        super().ensure_session()
        self.session.auth = ZuliprcAuth(sys.argv[-1])


zulip_bots.lib.Client = Client
sys.argv[1:] = ["helloworld", "--config-file", sys.argv[1]]
zulip_bots.run.main()
