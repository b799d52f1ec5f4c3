"""Endpoints of uploaded files."""

from __future__ import annotations

import mimetypes
import re
import secrets
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from zulip_auth.testing.accounts import Upload
from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import ANONYMOUS, Call, Fields, UserCall, endpoint

_UNSAFE_RE = re.compile(r"[^\w.\- ]")


@endpoint("POST /api/v1/user_uploads")
def upload_file(call: UserCall) -> Fields:
    """Store a file."""
    if not call.files:
        raise bad_request("You must specify a file to upload")
    if len(call.files) != 1:
        raise bad_request("You may only upload one file at a time")
    [(name, content)] = call.files
    safe_name = _UNSAFE_RE.sub("", name).strip().replace(" ", "-") or "uploaded-file"
    path = f"1/{secrets.token_hex(1)}/{secrets.token_urlsafe(18)}/{safe_name}"
    upload = Upload(next(call.state.other_ids), call.account, call.state.now(), name, path, content)
    call.realm.uploads[path] = upload
    url = f"/user_uploads/{path}"
    return {"uri": url, "url": url, "filename": name}


@endpoint("GET /user_uploads/temporary/{token}/{name}", ANONYMOUS)
def download_temporary_file(call: Call, token: str, name: str) -> Response:
    """Return a file by the token in its URL."""
    upload = call.state.file_tokens.get(token)
    if upload is None:
        raise bad_request("Invalid token")
    if not upload.path.endswith(f"/{name}"):
        raise bad_request("Invalid filename")
    return _file(upload)


@endpoint("GET /user_uploads/{path:path}")
def download_file(call: UserCall, path: str) -> Response:
    """Return a file."""
    return _file(call.realm.uploads.get(path))


@endpoint("GET /api/v1/user_uploads/{path:path}")
def get_file_url(call: UserCall, path: str) -> Fields:
    """Return a URL of a file that needs no API key."""
    upload = call.realm.uploads.get(path)
    if upload is None:
        raise HTTPException(404)
    token = secrets.token_urlsafe(18)
    call.state.file_tokens[token] = upload
    return {"url": f"/user_uploads/temporary/{token}/{path.rpartition('/')[2]}"}


@endpoint("GET /api/v1/attachments")
def list_attachments(call: UserCall) -> Fields:
    """Return the own files, and the messages that link to them."""
    own = [upload for upload in call.realm.uploads.values() if upload.owner is call.account]
    used = sum(len(upload.content) for upload in own)
    return {"attachments": [_to_dict(call, upload) for upload in own], "upload_space_used": used}


def _to_dict(call: UserCall, upload: Upload) -> dict[str, Any]:
    linking = [message for message in call.messages if upload.path in message.content]
    return {
        "id": upload.id,
        "name": upload.name,
        "path_id": upload.path,
        "size": len(upload.content),
        "create_time": int(upload.created * 1000),
        "messages": [{"id": m.id, "date_sent": m.timestamp * 1000} for m in linking],
    }


def _file(upload: Upload | None) -> Response:
    if upload is None:
        return Response("<p>File not found.</p>", 404, media_type="text/html")
    media_type = mimetypes.guess_type(upload.path)[0] or "application/octet-stream"
    return Response(upload.content, media_type=media_type)
