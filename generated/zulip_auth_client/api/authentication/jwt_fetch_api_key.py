# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.api_key_response import ApiKeyResponse
from ...models.coded_error import CodedError
from ...models.jwt_fetch_api_key_body import JwtFetchApiKeyBody
from ...types import Response


def _get_kwargs(
    *,
    body: JwtFetchApiKeyBody,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/jwt/fetch_api_key",
    }

    _kwargs["data"] = body.to_dict()
    headers["Content-Type"] = "application/x-www-form-urlencoded"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ApiKeyResponse | CodedError | None:
    if response.status_code == 200:
        response_200 = ApiKeyResponse.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = CodedError.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = CodedError.from_dict(response.json())

        return response_401

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
) -> Response[ApiKeyResponse | CodedError]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: JwtFetchApiKeyBody,
) -> Response[ApiKeyResponse | CodedError]:
    """Log in with a JSON web token

     Checks a token that a program which the organization trusts has signed, and answers with the API key
    of the account whose e-mail address is in it. New in Zulip 7.0 (feature level 160).

    Args:
        body (JwtFetchApiKeyBody):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ApiKeyResponse | CodedError]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: JwtFetchApiKeyBody,
) -> ApiKeyResponse | CodedError | None:
    """Log in with a JSON web token

     Checks a token that a program which the organization trusts has signed, and answers with the API key
    of the account whose e-mail address is in it. New in Zulip 7.0 (feature level 160).

    Args:
        body (JwtFetchApiKeyBody):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ApiKeyResponse | CodedError
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: JwtFetchApiKeyBody,
) -> Response[ApiKeyResponse | CodedError]:
    """Log in with a JSON web token

     Checks a token that a program which the organization trusts has signed, and answers with the API key
    of the account whose e-mail address is in it. New in Zulip 7.0 (feature level 160).

    Args:
        body (JwtFetchApiKeyBody):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ApiKeyResponse | CodedError]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: JwtFetchApiKeyBody,
) -> ApiKeyResponse | CodedError | None:
    """Log in with a JSON web token

     Checks a token that a program which the organization trusts has signed, and answers with the API key
    of the account whose e-mail address is in it. New in Zulip 7.0 (feature level 160).

    Args:
        body (JwtFetchApiKeyBody):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ApiKeyResponse | CodedError
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
