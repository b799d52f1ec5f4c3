"""An endpoint that logs users in to Zulip and maps each error to an HTTP status.

    ZULIP_SITE=chat.example.com uvicorn --app-dir examples fastapi_login:app

`POST /login` accepts `{"username": "…", "password": "…"}`, starts a session and returns
the account. Errors that the user can fix are 4xx; other errors are 5xx.
"""

import logging
import math
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, SecretStr

import zulip_auth

logger = logging.getLogger("fastapi_login")
UNAVAILABLE = "The Zulip server is currently unavailable. Try again later."
# A class without an entry has the status of its nearest base class.
STATUS_CODES: dict[type[zulip_auth.ZulipAuthError], int] = {
    zulip_auth.InvalidInputError: 422,  # such as an empty password; no request was made
    zulip_auth.BadRequestError: 422,  # such as a username that is not an email address
    zulip_auth.AuthenticationFailedError: 401,
    zulip_auth.UserDeactivatedError: 403,  # in these cases, another password does not help
    zulip_auth.RealmDeactivatedError: 403,
    zulip_auth.PasswordAuthDisabledError: 403,
    zulip_auth.PasswordResetRequiredError: 403,
    zulip_auth.DevAuthDisabledError: 403,
    zulip_auth.InvalidSubdomainError: 403,  # the account is in another organization
    zulip_auth.InvalidApiKeyError: 401,  # a key in a session was revoked; not raised by login()
    zulip_auth.RateLimitedError: 429,
    zulip_auth.APIConnectionError: 503,
    zulip_auth.APITimeoutError: 504,
    zulip_auth.TLSError: 502,
    zulip_auth.InvalidResponseError: 502,
    zulip_auth.APIStatusError: 502,  # ServerError and unknown responses
    zulip_auth.InvalidSiteError: 500,  # this application is misconfigured
    zulip_auth.SubdomainRequiredError: 500,
    zulip_auth.ZulipAuthError: 500,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Share one client among all logins."""
    app.state.zulip = zulip_auth.AuthClient(os.environ["ZULIP_SITE"], timeout=10)
    app.state.sessions = {}  # use a store with expiry in production
    yield


app = FastAPI(lifespan=lifespan)


class Login(BaseModel):
    """The credentials that a user submits. SecretStr hides the password in reprs."""

    username: str
    password: SecretStr


@app.post("/login")
async def log_in(login: Login, request: Request, response: Response) -> dict[str, object]:
    """Log a user in. The API key stays on the server."""
    state = request.app.state
    credentials = await state.zulip.login(login.username, login.password.get_secret_value())
    token = secrets.token_urlsafe()
    state.sessions[token] = credentials
    response.set_cookie("session", token, httponly=True, secure=True, samesite="strict")
    return {"email": credentials.email, "user_id": credentials.user_id}


@app.exception_handler(zulip_auth.ZulipAuthError)
async def handle_error(_request: Request, error: zulip_auth.ZulipAuthError) -> JSONResponse:
    """Return the status and the message for an error."""
    status = next(STATUS_CODES[cls] for cls in type(error).__mro__ if cls in STATUS_CODES)
    body: dict[str, object] = {"error": UNAVAILABLE if status >= 500 else str(error)}
    headers = {"WWW-Authenticate": 'Session realm="zulip"'} if status == 401 else {}
    if status >= 500:
        logger.error("%s: %s", type(error).__name__, error)  # errors contain no secrets
    if isinstance(error, zulip_auth.AuthenticationFailedError):
        body["attempts_remaining"] = error.attempts_remaining
    if isinstance(error, zulip_auth.RateLimitedError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(body, status, headers)


@app.exception_handler(RequestValidationError)
async def handle_invalid_input(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Return the invalid fields. FastAPI's default response repeats the password."""
    messages = [".".join(map(str, row["loc"])) + ": " + row["msg"] for row in error.errors()]
    return JSONResponse({"error": "; ".join(messages)}, 422)
