# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.coded_error import CodedError
from ...models.dev_list_users_response import DevListUsersResponse
from ...types import Response


def _get_kwargs() -> dict[str, Any]:

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/dev_list_users",
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> CodedError | DevListUsersResponse | None:
    if response.status_code == 200:
        response_200 = DevListUsersResponse.from_dict(response.json())

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
) -> Response[CodedError | DevListUsersResponse]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
) -> Response[CodedError | DevListUsersResponse]:
    """List the accounts of a development server

     Lists the accounts that `dev_fetch_api_key` takes. On a production server the address does not
    exist.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CodedError | DevListUsersResponse]
    """

    kwargs = _get_kwargs()

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
) -> CodedError | DevListUsersResponse | None:
    """List the accounts of a development server

     Lists the accounts that `dev_fetch_api_key` takes. On a production server the address does not
    exist.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CodedError | DevListUsersResponse
    """

    return sync_detailed(
        client=client,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
) -> Response[CodedError | DevListUsersResponse]:
    """List the accounts of a development server

     Lists the accounts that `dev_fetch_api_key` takes. On a production server the address does not
    exist.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CodedError | DevListUsersResponse]
    """

    kwargs = _get_kwargs()

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
) -> CodedError | DevListUsersResponse | None:
    """List the accounts of a development server

     Lists the accounts that `dev_fetch_api_key` takes. On a production server the address does not
    exist.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CodedError | DevListUsersResponse
    """

    return (
        await asyncio_detailed(
            client=client,
        )
    ).parsed
