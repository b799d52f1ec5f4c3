"""Endpoints of Zulip 10.0 that the stand-in rejects, because it does not have them.

Unknown paths have a page, as on a real server.
"""

from __future__ import annotations

from zulip_auth.testing.http import Fields, UserCall, endpoint, not_served

_ROUTES = """
DELETE /attachments/{attachment_id:int}
PATCH /bots/{bot_id:int}
POST,DELETE /default_streams
GET,POST /drafts
PATCH,DELETE /drafts/{draft_id:int}
GET,POST /export/realm
GET,POST /invites
POST /invites/multiuse
POST /messages/flags/narrow
GET /messages/{message_id:int}/read_receipts
POST /mobile_push/test_notification
PATCH /realm
GET,POST /realm/domains
POST,DELETE /realm/emoji/{emoji_name}
POST /realm/filters
PATCH,DELETE /realm/filters/{filter_id:int}
PATCH /realm/linkifiers
POST /realm/playgrounds
PATCH,POST /realm/profile_fields
PATCH,DELETE /realm/profile_fields/{field_id:int}
PATCH /realm/user_settings_defaults
GET,POST /saved_snippets
PATCH,DELETE /saved_snippets/{snippet_id:int}
PATCH /settings/display
PATCH /settings/notifications
PATCH,DELETE /streams/{stream_id:int}
POST /streams/{stream_id:int}/delete_topic
GET /streams/{stream_id:int}/email_address
PATCH /scheduled_messages/{id_:int}
POST /submessage
POST /user_groups/{group_id:int}/deactivate
GET /user_groups/{group_id:int}/members
GET /user_groups/{group_id:int}/members/{user_id:int}
GET,POST /user_groups/{group_id:int}/subgroups
POST /users
DELETE /users/me
POST,DELETE /users/me/android_gcm_reg_id
POST,DELETE /users/me/apns_device_token
POST,DELETE /users/me/avatar
POST,DELETE /users/me/muted_users/{muted_user_id:int}
POST /users/me/onboarding_steps
PATCH,DELETE /users/me/profile_data
POST /users/me/status
PATCH /users/me/subscriptions
PATCH,DELETE /users/{user}
POST /users/{user_id:int}/reactivate
GET /users/{user_id:int}/status
POST /zcommand
"""


def reject(call: UserCall, **_: object) -> Fields:
    """Raise the error for an endpoint that is not served."""
    raise not_served(call.state, f"{call.request.method} {call.request.url.path}")


for _line in _ROUTES.split("\n")[1:-1]:
    _methods, _path = _line.split()
    for _method in _methods.split(","):
        endpoint(f"{_method} /api/v1{_path}")(reject)
