"""Endpoints of what an organization can have, and those here have not."""

from __future__ import annotations

from zulip_auth.testing.http import Fields, UserCall, endpoint


@endpoint("GET /api/v1/realm/emoji")
def list_emoji(_call: UserCall) -> Fields:
    """Return the custom emoji."""
    return {"emoji": {}}


@endpoint("GET /api/v1/realm/linkifiers")
def list_linkifiers(_call: UserCall) -> Fields:
    """Return the linkifiers."""
    return {"linkifiers": []}


@endpoint("GET /api/v1/realm/profile_fields")
def list_profile_fields(_call: UserCall) -> Fields:
    """Return the custom profile fields."""
    return {"custom_fields": []}
