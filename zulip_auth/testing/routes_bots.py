"""Endpoints of a user's bots."""

from __future__ import annotations

import re

from starlette.responses import Response

from .http import UserCall, bad_request, success_response
from .routes_users import reject_bots
from .state import GENERIC_BOT, Account
from .templates import fill

_SHORT_NAME_RE = re.compile(r"[\w.+-]+")


async def list_bots(call: UserCall) -> Response:
    """Return the active bots of the account."""
    reject_bots(call)
    bots = [user for user in call.realm.accounts if user.owner is call.account and user.active]
    bots.sort(key=lambda bot: bot.user_id)
    return success_response(
        bots=[
            {"username": bot.email, "full_name": bot.full_name, "api_key": bot.api_key}
            | fill("bot")
            for bot in bots
        ]
    )


async def create_bot(call: UserCall) -> Response:
    """Create a bot."""
    reject_bots(call)
    full_name, short_name = call.require("full_name"), call.require("short_name")
    if not _SHORT_NAME_RE.fullmatch(short_name):
        raise bad_request("Bad name or username")
    bot_type = call.get_json("bot_type", default=GENERIC_BOT)
    try:
        bot = call.realm.create_bot(call.account, full_name, short_name, bot_type)
    except ValueError:
        raise bad_request("Username already in use") from None
    return success_response(user_id=bot.user_id, api_key=bot.api_key, **fill("bot"))


async def deactivate_bot(call: UserCall) -> Response:
    """Deactivate a bot of the account."""
    _find_bot(call).active = False
    return success_response()


async def regenerate_bot_api_key(call: UserCall) -> Response:
    """Replace the API key of a bot of the account."""
    bot = _find_bot(call)
    bot.regenerate_api_key()
    return success_response(api_key=bot.api_key)


def _find_bot(call: UserCall) -> Account:
    reject_bots(call)
    bot = call.realm.find(call.request.path_params["bot_id"])
    if bot is None or not bot.is_bot:
        raise bad_request("No such bot")
    if bot.owner is not call.account and not call.account.admin:
        raise bad_request("Insufficient permission")
    return bot
