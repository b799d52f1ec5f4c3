"""A stand-in Zulip server for tests. Requires the extra `zulip-auth[testing]`.

async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
    await zulip_auth.login(server.site, "iago@zulip.com", "secret")
"""

try:
    from .server import FakeZulip
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] not in ("jwt", "starlette", "uvicorn"):
        raise
    raise ModuleNotFoundError(
        "zulip_auth.testing requires an extra: pip install 'zulip-auth[testing]', "
        "in a clone '.[testing]'",
        name=_error.name,
    ) from None

from .accounts import Account, ExternalMethod, Realm
from .messages import Message
from .state import ReceivedRequest

__all__ = ["Account", "ExternalMethod", "FakeZulip", "Message", "Realm", "ReceivedRequest"]
