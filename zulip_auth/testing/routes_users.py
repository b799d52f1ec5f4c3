"""Endpoints of accounts and bots: profiles, API keys, settings and presence."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from .http import UserCall, bad_request, fill, success_response
from .state import GENERIC_BOT, GUEST, OWNER, Account, Realm

_SHORT_NAME_RE = re.compile(r"[\w.+-]+")


def own_profile(realm: Realm, account: Account) -> dict[str, Any]:
    """Return an account as in the API, for the account itself."""
    profile = fill(
        "profile",
        email=realm.visible_email(account),
        user_id=account.user_id,
        is_admin=account.admin,
        is_owner=account.role == OWNER,
        is_guest=account.role == GUEST,
        role=account.role,
        is_bot=account.is_bot,
        full_name=account.full_name,
        is_active=account.active,
        delivery_email=account.email,
    )
    if account.owner:
        profile |= {"bot_type": account.bot_type, "bot_owner_id": account.owner.user_id}
    return profile


async def get_own_user(call: UserCall) -> Response:
    """Return the profile of the own account."""
    profile = own_profile(call.realm, call.account)
    if not call.account.is_bot:
        profile["profile_data"] = {}
    ids = [m.id for m in call.state.messages.values() if call.account in m.recipients]
    return success_response(**profile, max_message_id=max(ids, default=-1))


async def regenerate_api_key(call: UserCall) -> Response:
    """Replace the own API key."""
    call.account.regenerate_api_key()
    return success_response(api_key=call.account.api_key)


async def list_users(call: UserCall) -> Response:
    """Return all accounts of the organization."""
    return success_response(members=[_profile(call, user) for user in call.realm.accounts])


async def get_user(call: UserCall) -> Response:
    """Return an account by its user id or email."""
    return success_response(user=_profile(call, _find_user(call)))


async def update_settings(_call: UserCall) -> Response:
    """Accept any setting. Settings have no effect."""
    return success_response()


async def update_presence(call: UserCall) -> Response:
    """Accept the presence of a user, which has no effect."""
    reject_bots(call)
    if (status := call.require("status")) not in ("active", "idle"):
        raise bad_request(f"Invalid status: {status}")
    return success_response(presences={}, server_timestamp=call.state.now())


def reject_bots(call: UserCall) -> None:
    """Raise the error for a bot at an endpoint for users."""
    if call.account.is_bot:
        raise bad_request("This endpoint does not accept bot requests.")


def _find_user(call: UserCall) -> Account:
    name = call.request.path_params["user"]
    for user in call.realm.accounts:
        if name in (str(user.user_id), user.email, call.realm.visible_email(user)):
            return user
    raise bad_request("No such user")


def _profile(call: UserCall, user: Account) -> dict[str, Any]:
    profile = own_profile(call.realm, user) | {"bot_type": user.bot_type}
    if profile["email"] != user.email and user is not call.account:
        profile["delivery_email"] = None
    return profile


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
