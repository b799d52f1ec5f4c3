"""Tools around httpx see each attempt once: mocks, recorders, instrumentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx
import pytest
import respx
import vcr  # type: ignore[import-untyped]
from pytest_httpx import HTTPXMock

from helpers.constants import API_KEY, PASSWORD, SUCCESS, USERNAME
from helpers.raw_server import ScriptedServer, respond, succeed
from zulip_auth import APIConnectionError, APITimeoutError, AuthClient, RetryPolicy, login

SITE = "https://chat.example.com"
URL = f"{SITE}/api/v1/fetch_api_key"
BUSY = respond(503)


def sent_form(request: httpx.Request) -> dict[str, list[str]]:
    return parse_qs(request.content.decode())


async def test_respx(no_backoff: RetryPolicy) -> None:
    with respx.mock:
        route = respx.post(URL).mock(
            side_effect=[httpx.Response(503), httpx.Response(200, json=SUCCESS)]
        )
        credentials = await login(SITE, USERNAME, PASSWORD, retry=no_backoff)
    assert credentials.api_key == API_KEY
    assert [sent_form(call.request) for call in route.calls] == [
        {"username": [USERNAME], "password": [PASSWORD]}
    ] * 2


async def test_respx_exception() -> None:
    with respx.mock:
        route = respx.post(URL).mock(side_effect=httpx.ConnectError)
        with pytest.raises(APIConnectionError) as caught:
            await login(SITE, USERNAME, PASSWORD, retry=RetryPolicy(wait_max=0))
    assert caught.value.sent
    assert len(route.calls) == 2


async def test_pytest_httpx(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(
        url=URL,
        match_content=urlencode({"username": USERNAME, "password": PASSWORD}).encode(),
        json=SUCCESS,
    )
    assert (await AuthClient(SITE).login(USERNAME, PASSWORD)).api_key == API_KEY
    assert len(httpx_mock.get_requests()) == 1


async def test_pytest_httpx_exception(httpx_mock: HTTPXMock, no_backoff: RetryPolicy) -> None:
    httpx_mock.add_exception(httpx.ReadTimeout("slow"), is_reusable=True)
    with pytest.raises(APITimeoutError) as caught:
        await login(SITE, USERNAME, PASSWORD, retry=no_backoff)
    assert caught.value.sent
    assert len(httpx_mock.get_requests()) == 2


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


async def test_patched_transport(monkeypatch: pytest.MonkeyPatch, no_backoff: RetryPolicy) -> None:
    """Instrumentation, such as OpenTelemetry's, patches httpx's transport."""
    spans: list[tuple[str, int]] = []
    handle = httpx.AsyncHTTPTransport.handle_async_request

    async def traced(transport: Any, request: httpx.Request) -> httpx.Response:
        request.headers["traceparent"] = "00-1-2-01"
        response = await handle(transport, request)
        spans.append((request.url.path, response.status_code))
        return response

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", traced)
    async with ScriptedServer(BUSY, succeed) as server:
        await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
        assert spans == [("/api/v1/fetch_api_key", 503), ("/api/v1/fetch_api_key", 200)]
        assert {request.headers["traceparent"] for request in server.requests} == {"00-1-2-01"}
