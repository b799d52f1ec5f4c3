"""Endpoints of what accounts store: alert words, and the storage of bots."""

from __future__ import annotations

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint


@endpoint("GET /api/v1/users/me/alert_words")
def list_alert_words(call: UserCall) -> Fields:
    """Return the alert words."""
    return {"alert_words": list(call.account.alert_words)}


@endpoint("POST /api/v1/users/me/alert_words")
def add_alert_words(call: UserCall, alert_words: list[str]) -> Fields:
    """Add alert words. Their case does not matter."""
    known = [word.lower() for word in call.account.alert_words]
    for word in filter(None, map(str.strip, alert_words)):
        if word.lower() not in known:
            known.append(word.lower())
            call.account.alert_words.append(word)
    return _changed_alert_words(call)


@endpoint("DELETE /api/v1/users/me/alert_words")
def remove_alert_words(call: UserCall, alert_words: list[str]) -> Fields:
    """Remove alert words."""
    removed = {text.lower() for text in alert_words}
    kept = [text for text in call.account.alert_words if text.lower() not in removed]
    call.account.alert_words[:] = kept
    return _changed_alert_words(call)


def _changed_alert_words(call: UserCall) -> Fields:
    fields = {"alert_words": list(call.account.alert_words)}
    call.deliver([call.account], {"type": "alert_words", **fields})
    return fields


@endpoint("PUT /api/v1/bot_storage")
def update_storage(call: UserCall, storage: dict[str, str]) -> Fields:
    """Store values."""
    call.account.storage.update(storage)
    return {}


@endpoint("GET /api/v1/bot_storage")
def get_storage(call: UserCall, keys: list[str] | None = None) -> Fields:
    """Return values, by default all."""
    return {"storage": {key: call.account.storage[key] for key in _check_keys(call, keys)}}


@endpoint("DELETE /api/v1/bot_storage")
def remove_storage(call: UserCall, keys: list[str] | None = None) -> Fields:
    """Delete values, by default all."""
    for key in _check_keys(call, keys):
        del call.account.storage[key]
    return {}


def _check_keys(call: UserCall, keys: list[str] | None) -> list[str]:
    names = list(call.account.storage) if keys is None else keys
    if not call.account.storage.keys() >= set(names):
        raise bad_request("Key does not exist.")
    return names
