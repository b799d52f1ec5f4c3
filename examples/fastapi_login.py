"""An endpoint that logs users in to Zulip, and says in HTTP why it could not.

    ZULIP_SITE=chat.example.com uvicorn --app-dir examples fastapi_login:app

`POST /login` takes `{"username": "…", "password": "…"}`, starts a session, and answers
with the account; or with 4xx where the user can do something about it, 5xx where the
server cannot be asked.
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

log = logging.getLogger("fastapi_login")
DOWN = "The Zulip server cannot be asked at the moment. Try again later."
# The row of an error is that of its class, or else of the next class above it.
STATUS: dict[type[zulip_auth.ZulipAuthError], int] = {
    zulip_auth.InvalidInputError: 422,  # such as an empty password; nothing was sent
    zulip_auth.BadRequestError: 422,  # such as a username that is no e-mail address
    zulip_auth.AuthenticationFailedError: 401,
    zulip_auth.UserDeactivatedError: 403,  # and in these another password would not help
    zulip_auth.RealmDeactivatedError: 403,
    zulip_auth.PasswordAuthDisabledError: 403,
    zulip_auth.PasswordResetRequiredError: 403,
    zulip_auth.DevAuthDisabledError: 403,
    zulip_auth.InvalidSubdomainError: 403,  # the account is in another organization
    zulip_auth.InvalidApiKeyError: 401,  # not from a login: a key in a session was revoked
    zulip_auth.RateLimitedError: 429,
    zulip_auth.APIConnectionError: 503,
    zulip_auth.APITimeoutError: 504,
    zulip_auth.TLSError: 502,
    zulip_auth.InvalidResponseError: 502,
    zulip_auth.APIStatusError: 502,  # ServerError, and what no class is made for
    zulip_auth.InvalidSiteError: 500,  # what this application is told is wrong
    zulip_auth.SubdomainRequiredError: 500,
    zulip_auth.ZulipAuthError: 500,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Keep one client, and its connections, for all logins."""
    async with zulip_auth.AuthClient(os.environ["ZULIP_SITE"], timeout=10) as client:
        app.state.zulip = client
        app.state.sessions = {}  # yours should forget old ones, and outlive a restart
        yield


app = FastAPI(lifespan=lifespan)


class Login(BaseModel):
    """What a user sends; the password is in no `repr`."""

    username: str
    password: SecretStr


@app.post("/login")
async def log_in(login: Login, request: Request, response: Response) -> dict[str, object]:
    """Log a user in. The API key stays on this side."""
    state = request.app.state
    credentials = await state.zulip.login(login.username, login.password.get_secret_value())
    token = secrets.token_urlsafe()
    state.sessions[token] = credentials
    response.set_cookie("session", token, httponly=True, secure=True, samesite="strict")
    return {"email": credentials.email, "user_id": credentials.user_id}


@app.exception_handler(zulip_auth.ZulipAuthError)
async def say_why(_request: Request, error: zulip_auth.ZulipAuthError) -> JSONResponse:
    """Answer with the status that fits, and with what the user can do."""
    status = next(STATUS[each] for each in type(error).__mro__ if each in STATUS)
    said: dict[str, object] = {"error": DOWN if status >= 500 else str(error)}
    headers = {"WWW-Authenticate": 'Session realm="zulip"'} if status == 401 else {}
    if status >= 500:
        log.error("%s: %s", type(error).__name__, error)  # no error holds a secret
    if isinstance(error, zulip_auth.AuthenticationFailedError):
        said["attempts_remaining"] = error.attempts_remaining
    if isinstance(error, zulip_auth.RateLimitedError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(said, status, headers)


@app.exception_handler(RequestValidationError)
async def refuse_input(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Say which field is wrong. FastAPI's own answer repeats the input, password and all."""
    fields = [".".join(map(str, each["loc"])) + ": " + each["msg"] for each in error.errors()]
    return JSONResponse({"error": "; ".join(fields)}, 422)
