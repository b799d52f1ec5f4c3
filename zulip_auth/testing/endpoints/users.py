"""Endpoints of accounts and bots: profiles, API keys and settings."""

from __future__ import annotations

import re
from typing import Any

from zulip_auth.testing.accounts import GENERIC_BOT, GUEST, INCOMING_WEBHOOK, OWNER, Account, Realm
from zulip_auth.testing.errors import bad_request, reject_if
from zulip_auth.testing.http import HUMANS, Fields, UserCall, endpoint, not_served

_SHORT_NAME_RE = re.compile(r"[\w.+-]+")
_BOT_TYPES = (GENERIC_BOT, INCOMING_WEBHOOK, 3, 4)
BOT_SETTINGS: dict[str, Any] = {
    "avatar_url": "",
    "default_sending_stream": None,
    "default_events_register_stream": None,
    "default_all_public_streams": False,
}
_MAX_NAME = 100
_SETTINGS = re.findall(
    r"\w+",
    """
automatically_follow_topics_policy automatically_follow_topics_where_mentioned
automatically_unmute_topics_in_muted_streams_policy avatar_source color_scheme default_language
demote_inactive_streams desktop_icon_count_display display_emoji_reaction_users
email email_address_visibility email_notifications_batching_period_seconds emojiset
enable_desktop_notifications enable_digest_emails enable_drafts_synchronization
enable_followed_topic_audible_notifications enable_followed_topic_desktop_notifications
enable_followed_topic_email_notifications enable_followed_topic_push_notifications
enable_followed_topic_wildcard_mentions_notify enable_login_emails enable_marketing_emails
enable_offline_email_notifications enable_offline_push_notifications
enable_online_push_notifications enable_sounds enable_stream_audible_notifications
enable_stream_desktop_notifications enable_stream_email_notifications
enable_stream_push_notifications enter_sends fluid_layout_width
high_contrast_mode left_side_userlist message_content_in_email_notifications
new_password notification_sound old_password pm_content_in_desktop_notifications
presence_enabled realm_name_in_email_notifications_policy receives_typing_notifications
send_private_typing_notifications send_read_receipts send_stream_typing_notifications
starred_message_counts timezone translate_emoticons twenty_four_hour_time user_list_style
web_animate_image_previews web_channel_default_view web_escape_navigates_to_home_view
web_font_size_px web_home_view web_line_height_percent
web_mark_read_on_scroll_policy web_navigate_to_sent_message
web_stream_unreads_count_display_policy web_suggest_update_timezone wildcard_mentions_notify
""",
)
_UNUSED = {"client_gravatar": bool, "include_custom_profile_fields": bool}


def own_profile(realm: Realm, account: Account) -> dict[str, Any]:
    """Return an account as in the API, for the account itself."""
    profile = {
        "email": realm.visible_email(account),
        "user_id": account.user_id,
        "avatar_version": 1,
        "is_admin": account.admin,
        "is_owner": account.role == OWNER,
        "is_guest": account.role == GUEST,
        "is_billing_admin": False,
        "role": account.role,
        "is_bot": account.is_bot,
        "full_name": account.full_name,
        "timezone": "",
        "is_active": account.active,
        "date_joined": "2026-11-23T21:32+00:00",
        "delivery_email": account.email,
        "avatar_url": "",
    }
    if account.owner:
        profile |= {"bot_type": account.bot_type, "bot_owner_id": account.owner.user_id}
    return profile


def profile_for(realm: Realm, reader: Account, user: Account) -> dict[str, Any]:
    """Return an account as in the API, for another account."""
    profile = own_profile(realm, user) | {"bot_type": user.bot_type}
    if profile["email"] != user.email and user is not reader:
        profile["delivery_email"] = None
    return profile


def all_profiles(call: UserCall) -> list[dict[str, Any]]:
    """Return all accounts of the organization as in the API."""
    return [profile_for(call.realm, call.account, user) for user in call.realm.accounts]


def find_user(realm: Realm, name: str | int) -> Account:
    """Return an account by its user id or its email in profiles."""
    number = int(name) if isinstance(name, str) and name.isdigit() else name
    user = realm.find_visible(number)
    if user is None:
        raise bad_request("No such user")
    return user


def max_message_id(call: UserCall) -> int:
    """Return the id of the newest message of the account, or -1."""
    return max((message.id for message in call.received), default=-1)


@endpoint("GET /api/v1/users/me")
def get_own_user(call: UserCall) -> Fields:
    """Return the profile of the own account."""
    profile = own_profile(call.realm, call.account)
    if not call.account.is_bot:
        profile["profile_data"] = {}
    return {**profile, "max_message_id": max_message_id(call)}


@endpoint("POST /api/v1/users/me/api_key/regenerate")
def regenerate_api_key(call: UserCall) -> Fields:
    """Replace the own API key."""
    call.account.regenerate_api_key()
    return {"api_key": call.account.api_key}


@endpoint("GET /api/v1/users", **_UNUSED)
def list_users(call: UserCall) -> Fields:
    """Return all accounts of the organization."""
    return {"members": all_profiles(call)}


@endpoint("GET /api/v1/users/{user}", **_UNUSED)
def get_user(call: UserCall, user: str) -> Fields:
    """Return an account by its user id or email."""
    return {"user": profile_for(call.realm, call.account, find_user(call.realm, user))}


@endpoint("PATCH /api/v1/settings", **dict.fromkeys(_SETTINGS, str))
def update_settings(call: UserCall, full_name: str | None = None) -> Fields:
    """Accept any setting. Only the full name has an effect."""
    if full_name is not None:
        call.account.full_name = _check_name(full_name)
    return {}


@endpoint("GET /api/v1/bots", HUMANS)
def list_bots(call: UserCall) -> Fields:
    """Return the active bots of the account."""
    bots = [bot for bot in call.bots if bot.active]
    bots.sort(key=lambda bot: bot.user_id)
    fields = [
        {"username": bot.email, "full_name": bot.full_name, "api_key": bot.api_key} for bot in bots
    ]
    return {"bots": [bot | BOT_SETTINGS for bot in fields]}


@endpoint("POST /api/v1/bots", HUMANS)
def create_bot(
    call: UserCall, full_name: str, short_name: str, bot_type: int = GENERIC_BOT
) -> Fields:
    """Create a bot."""
    full_name = _check_name(full_name)
    email = f"{short_name}-bot@{call.realm.email_domain}"
    names = {user.full_name.lower() for user in call.realm.accounts if user.active}
    reject_if(
        (not _SHORT_NAME_RE.fullmatch(short_name), "Bad name or username"),
        (call.realm.find(email) is not None, "Username already in use"),
        (full_name.lower() in names, "Name is already in use!"),
        (bot_type not in _BOT_TYPES, "Invalid bot type"),
    )
    if bot_type not in (GENERIC_BOT, INCOMING_WEBHOOK):
        raise not_served(call.state, f"bots of type {bot_type}")
    bot = call.realm.create_bot(call.account, full_name, short_name, bot_type)
    return {"user_id": bot.user_id, "api_key": bot.api_key, **BOT_SETTINGS}


@endpoint("DELETE /api/v1/bots/{bot_id:int}", HUMANS)
def deactivate_bot(call: UserCall, bot_id: int) -> Fields:
    """Deactivate a bot of the account."""
    _find_bot(call, bot_id).active = False
    return {}


@endpoint("POST /api/v1/bots/{bot_id:int}/api_key/regenerate", HUMANS)
def regenerate_bot_api_key(call: UserCall, bot_id: int) -> Fields:
    """Replace the API key of a bot of the account."""
    bot = _find_bot(call, bot_id)
    bot.regenerate_api_key()
    return {"api_key": bot.api_key}


def _find_bot(call: UserCall, bot_id: int) -> Account:
    bot = call.realm.find(bot_id)
    if bot is None or not bot.is_bot:
        raise bad_request("No such bot")
    if bot.owner is not call.account and not call.account.admin:
        raise bad_request("Insufficient permission")
    return bot


def _check_name(name: str) -> str:
    name = name.strip()
    invalid = not name.isprintable() or not set(name).isdisjoint('*`\\>"@')
    reject_if(
        (len(name) > _MAX_NAME, "Name too long!"),
        (len(name) < 2, "Name too short!"),
        (invalid, "Invalid characters in name!"),
    )
    return name
