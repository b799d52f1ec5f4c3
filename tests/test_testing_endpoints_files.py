"""Endpoints of the stand-in server for uploaded files."""

from __future__ import annotations

import httpx

from helpers.caller import Organization

FILE = {"file": ("my notes?.txt", b"\0 text")}


def test_upload_and_download(org: Organization) -> None:
    body = org.bot.ok("POST /user_uploads", files=FILE)
    assert body["uri"] == body["url"]
    assert body["url"].startswith("/user_uploads/1/") and body["url"].endswith("/my-notes.txt")
    assert body["filename"] == "my notes?.txt"
    response = org.iago.http.get(org.server.site + body["url"])
    assert response.content == b"\0 text"
    assert response.headers["content-type"].startswith("text/plain")
    url = org.iago.ok(f"GET {body['url']}")["url"]
    assert httpx.get(org.server.site + url).content == b"\0 text"
    assert httpx.get(org.server.site + body["url"]).status_code == 401


def test_unknown_file(org: Organization) -> None:
    assert org.bot.http.get(f"{org.server.site}/user_uploads/1/x").status_code == 404
    assert org.bot.http.get(f"{org.server.site}/api/v1/user_uploads/1/x").status_code == 404
    path = org.bot.ok("POST /user_uploads", files={"file": ("?", b"")})["url"]
    temporary = f"{org.server.site}{org.bot.ok(f'GET {path}')['url']}"
    assert temporary.endswith("/uploaded-file")
    assert httpx.get(f"{temporary}x").json()["msg"] == "Invalid filename"
    unknown = f"{org.server.site}/user_uploads/temporary/x/uploaded-file"
    assert httpx.get(unknown).json()["msg"] == "Invalid token"


def test_number_of_files(org: Organization) -> None:
    assert org.bot.error("POST /user_uploads") == "You must specify a file to upload"
    error = org.bot.error("POST /user_uploads", files=FILE | {"b": ("b", b"")})
    assert error == "You may only upload one file at a time"


def test_attachments(org: Organization) -> None:
    url = org.bot.ok("POST /user_uploads", files=FILE)["url"]
    org.server.send(org.bot.account, "general", f"[notes]({url})", topic="t")
    body = org.bot.ok("GET /attachments")
    assert body["upload_space_used"] == 6
    [attachment] = body["attachments"]
    assert f"/user_uploads/{attachment['path_id']}" == url
    assert [message["id"] for message in attachment["messages"]] == [1]
    assert org.iago.ok("GET /attachments")["attachments"] == []
