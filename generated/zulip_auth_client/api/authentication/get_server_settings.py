# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.coded_error import CodedError
from ...models.server_settings_response import ServerSettingsResponse
from ...types import Response


def _get_kwargs() -> dict[str, Any]:

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/server_settings",
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> CodedError | ServerSettingsResponse | None:
    if response.status_code == 200:
        response_200 = ServerSettingsResponse.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = CodedError.from_dict(response.json())

        return response_400

    if response.status_code == 404:
        response_404 = CodedError.from_dict(response.json())

        return response_404

    if response.status_code == 429:
        response_429 = CodedError.from_dict(response.json())

        return response_429

    if 500 <= response.status_code <= 599:
        response_5xx = CodedError.from_dict(response.json())

        return response_5xx

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[CodedError | ServerSettingsResponse]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
) -> Response[CodedError | ServerSettingsResponse]:
    """Find out about the server and its ways to log in

     Answers without any authentication, for a deactivated organization as well: it is no proof that a
    login would work.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CodedError | ServerSettingsResponse]
    """

    kwargs = _get_kwargs()

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
) -> CodedError | ServerSettingsResponse | None:
    """Find out about the server and its ways to log in

     Answers without any authentication, for a deactivated organization as well: it is no proof that a
    login would work.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CodedError | ServerSettingsResponse
    """

    return sync_detailed(
        client=client,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
) -> Response[CodedError | ServerSettingsResponse]:
    """Find out about the server and its ways to log in

     Answers without any authentication, for a deactivated organization as well: it is no proof that a
    login would work.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CodedError | ServerSettingsResponse]
    """

    kwargs = _get_kwargs()

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
) -> CodedError | ServerSettingsResponse | None:
    """Find out about the server and its ways to log in

     Answers without any authentication, for a deactivated organization as well: it is no proof that a
    login would work.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CodedError | ServerSettingsResponse
    """

    return (
        await asyncio_detailed(
            client=client,
        )
    ).parsed
