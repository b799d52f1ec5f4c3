"""The account that most tests log in with, and the responses that they serve."""

from __future__ import annotations

USERNAME = "iago@zulip.com"
PASSWORD = "correct horse & battery=+%é"  # every kind of character that a form escapes
API_KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
USER_ID = 16

SUCCESS: dict[str, object] = {
    "result": "success",
    "msg": "",
    "api_key": API_KEY,
    "email": USERNAME,
    "user_id": USER_ID,
}
AUTH_FAILED: dict[str, object] = {
    "result": "error",
    "msg": "Your username or password is incorrect",
    "code": "AUTHENTICATION_FAILED",
}
