"""Endpoints of the stand-in server for alert words and the storage of bots."""

from __future__ import annotations

from helpers.caller import Organization, org

__all__ = ["org"]


def test_alert_words(org: Organization) -> None:
    queue, route = org.iago.register(event_types=["alert_words"]), "/users/me/alert_words"
    assert org.iago.ok(f"GET {route}") == {"alert_words": []}
    words = ["Lunch", " lunch ", "", "tea"]
    assert org.iago.ok(f"POST {route}", alert_words=words) == {"alert_words": ["Lunch", "tea"]}
    assert org.iago.ok(f"DELETE {route}", alert_words=["LUNCH", "x"]) == {"alert_words": ["tea"]}
    assert org.iago.ok(f"GET {route}") == {"alert_words": ["tea"]}
    assert [event["alert_words"] for event in org.iago.events(queue)] == [["Lunch", "tea"], ["tea"]]
    assert org.iago.error(f"POST {route}", alert_words="tea") == "alert_words is not valid JSON"


def test_bot_storage(org: Organization) -> None:
    route = "/bot_storage"
    assert org.bot.ok(f"PUT {route}", storage={"a": "1", "b": "2"}) == {}
    assert org.bot.ok(f"GET {route}") == {"storage": {"a": "1", "b": "2"}}
    assert org.bot.ok(f"GET {route}", keys=["b"]) == {"storage": {"b": "2"}}
    assert org.bot.error(f"GET {route}", keys=["c"]) == "Key does not exist."
    assert org.bot.error(f"PUT {route}", storage={"c": 3}) == 'storage["c"] is not a string'
    assert org.bot.ok(f"DELETE {route}", keys=["a"]) == {}
    assert org.bot.ok(f"GET {route}") == {"storage": {"b": "2"}}
    assert org.bot.ok(f"DELETE {route}") == {}
    assert org.bot.ok(f"GET {route}") == org.iago.ok(f"GET {route}") == {"storage": {}}
