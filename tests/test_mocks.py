"""Tools around httpx see each attempt once: mocks, recorders."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import httpx
import respx
import vcr  # type: ignore[import-untyped]
from pytest_httpx import HTTPXMock

from helpers.constants import API_KEY, PASSWORD, SUCCESS, USERNAME
from helpers.errors import login_error
from helpers.raw_server import ScriptedServer, respond, succeed
from zulip_auth import APIConnectionError, APITimeoutError, AuthClient, RetryPolicy, login

SITE = "https://chat.example.com"
URL = f"{SITE}/api/v1/fetch_api_key"
BUSY = respond(503)
FORM = urlencode({"username": USERNAME, "password": PASSWORD}).encode()


async def test_respx(no_backoff: RetryPolicy) -> None:
    responses = [httpx.Response(503), httpx.Response(200, json=SUCCESS)]
    with respx.mock:
        route = respx.post(URL).mock(side_effect=responses)
        assert (await login(SITE, USERNAME, PASSWORD, retry=no_backoff)).api_key == API_KEY
        assert [call.request.content for call in route.calls] == [FORM] * 2
        route = respx.post(URL).mock(side_effect=httpx.ConnectError)
        error = await login_error(APIConnectionError, SITE, retry=no_backoff)
        assert (error.sent, len(route.calls)) == (True, 4)


async def test_pytest_httpx(httpx_mock: HTTPXMock, no_backoff: RetryPolicy) -> None:
    httpx_mock.add_response(url=URL, match_content=FORM, json=SUCCESS)
    assert (await AuthClient(SITE).login(USERNAME, PASSWORD)).api_key == API_KEY
    httpx_mock.add_exception(httpx.ReadTimeout("slow"), is_reusable=True)
    error = await login_error(APITimeoutError, SITE, retry=no_backoff)
    assert (error.sent, len(httpx_mock.get_requests())) == (True, 3)


async def test_vcrpy(tmp_path: Path, no_backoff: RetryPolicy) -> None:
    recorder = vcr.VCR(filter_post_data_parameters=["password"])
    path = str(tmp_path / "cassette.yaml")
    async with ScriptedServer(BUSY, succeed) as server:
        for count in (2, 4):
            with recorder.use_cassette(path) as cassette:
                credentials = await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
            assert credentials.api_key == API_KEY
            assert cassette.play_count == (0 if count == 2 else 2)
        assert len(server.requests) == 2
    assert PASSWORD not in Path(path).read_text()
