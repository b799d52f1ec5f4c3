"""Endpoints of accounts: profiles, the own API key, settings and presence."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .http import UserCall, bad_request, success_response
from .state import GUEST, OWNER, Account, Realm
from .templates import fill


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
    """Set the own presence and return that of all users."""
    reject_bots(call)
    status, now = call.require("status"), call.state.now()
    if status not in ("active", "idle"):
        raise bad_request(f"Invalid status: {status}")
    call.account.presence = {"status": status, "timestamp": int(now)}
    users = [user for user in call.realm.accounts if user.presence]
    presences = {call.realm.visible_email(user): _presence(user) for user in users}
    return success_response(presences=presences, server_timestamp=now)


async def get_presence(call: UserCall) -> Response:
    """Return the presence of a user."""
    user = _find_user(call)
    if user.is_bot:
        raise bad_request("Presence is not supported for bot users.")
    if user.presence is None:
        raise bad_request(f"No presence data for {call.request.path_params['user']}")
    return success_response(presence=_presence(user))


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


def _presence(user: Account) -> dict[str, Any]:
    return {"aggregated": user.presence, "website": user.presence}
