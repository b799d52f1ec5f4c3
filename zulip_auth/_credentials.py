"""What a login gives, and where it is kept between two runs."""

from __future__ import annotations

import os
import pathlib
import re
import ssl
from base64 import b64encode
from functools import partial
from typing import NoReturn, Self

from attrs import field, frozen

from ._exceptions import ZuliprcError
from ._redaction import hide_locals
from ._urls import try_normalize_site
from ._zuliprc import (
    ZuliprcSection,
    read_zuliprc,
    render_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
)

FilePath = str | os.PathLike[str]

_API_KEY = re.compile(r"[\x21-\x7e]{1,1024}")
_EMAIL = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1024}")
USER_ID_RE = re.compile(r"[1-9][0-9]{0,17}")


def is_api_key(value: object) -> bool:
    """Tell whether something can be an API key."""
    return isinstance(value, str) and _API_KEY.fullmatch(value) is not None


def is_email(value: object) -> bool:
    """Tell whether something can be an account's address, as a server spells it."""
    return isinstance(value, str) and _EMAIL.fullmatch(value) is not None


@frozen
class Credentials:
    """What authenticates every further request of one account.

    Attributes:
        site: The organization's address, such as `https://chat.example.com`.
        email: The account's e-mail address as the server spells it.
        api_key: The secret. It is in no `repr`, `str`, log or pickle.
        user_id: The account's number; None from servers before Zulip 7.0.
        cert_bundle: A file with the certificates to trust, in place of those
            of the system. A login leaves this and the next two at None; they
            are for what a zuliprc or the environment says.
        client_cert: A file with the certificate to show to the server.
        client_cert_key: A file with its key, where that is another one.
    """

    site: str
    email: str
    api_key: str = field(repr=False)
    user_id: int | None = None
    cert_bundle: str | None = field(default=None, kw_only=True, repr=False)
    client_cert: str | None = field(default=None, kw_only=True, repr=False)
    client_cert_key: str | None = field(default=None, kw_only=True, repr=False)

    @property
    def basic_auth(self) -> tuple[str, str]:
        """Return the pair that HTTP libraries take for Basic authentication."""
        return self.email, self.api_key

    @classmethod
    def load(cls, path: FilePath | None = None) -> Self:
        """Read the credentials from a zuliprc, the file that Zulip's tools share.

        It warns where others than the file's owner may read it. That the file
        says `insecure` changes nothing: certificates are always checked.

        Args:
            path: The file. None stands for the one that the environment
                variable ZULIP_CONFIG names, or else `~/.zuliprc`.

        Raises:
            ZuliprcError: There is no such file, or it is not what it should
                be. The error repeats nothing of it.

        Source: https://zulip.com/api/configuring-python-bindings
        """
        file = resolve_zuliprc_path(path)
        return cls._from_values(read_zuliprc(file), str(file))

    @classmethod
    def from_env(
        cls,
        *,
        email: str | None = None,
        api_key: str | None = None,
        site: str | None = None,
        cert_bundle: str | None = None,
        path: FilePath | None = None,
    ) -> Self:
        """Read the credentials from the environment, and what is missing there from a zuliprc.

        Each of the first four is taken from the argument, else from
        ZULIP_EMAIL, ZULIP_API_KEY, ZULIP_SITE or ZULIP_CERT_BUNDLE, else from
        the file, which need not exist. That is how Zulip's own client does it.

        Args:
            email: The account's e-mail address.
            api_key: Its API key.
            site: The organization's address.
            cert_bundle: A file with the certificates to trust.
            path: The zuliprc; None as for `load`.

        Raises:
            ZuliprcError: Something is missing, or is not what it should be.
                The error repeats nothing of it.

        Source: https://zulip.com/api/configuring-python-bindings
        """
        values = ZuliprcSection(email=email, key=api_key, site=site, cert_bundle=cert_bundle)
        del api_key  # so that no traceback which shows variables shows it
        file = resolve_zuliprc_path(path)
        stored = read_zuliprc(file, missing_ok=True)
        for name, variable in _VARIABLES.items():
            values[name] = values[name] or os.environ.get(variable) or stored.get(name)
        # The number is the file's, and so may be another account's.
        if all(values[name] == stored.get(name) for name in ("email", "key", "site")):
            values["user_id"] = stored.get("user_id")
        for name in ("client_cert", "client_cert_key"):
            values[name] = stored.get(name)
        return cls._from_values(values, f"The environment, with {file},")

    @classmethod
    def _from_values(cls, values: ZuliprcSection, where: str) -> Self:
        site = try_normalize_site(values.get("site"))
        number = values.get("user_id")
        problems = {
            "site": site is None,
            "email": not is_email(values.get("email")),
            "key": not is_api_key(values.get("key")),
        }
        unusable = [name for name, problem in problems.items() if problem]
        if unusable:
            raise ZuliprcError(
                f"{where} has no {' and no '.join(unusable)} that can be used. "
                "`zulip-auth login` writes a file that has all."
            )
        return cls(
            site or "",
            values["email"] or "",
            values["key"] or "",
            int(number) if number and USER_ID_RE.fullmatch(number) else None,
            cert_bundle=values.get("cert_bundle") or None,
            client_cert=values.get("client_cert") or None,
            client_cert_key=values.get("client_cert_key") or None,
        )

    @hide_locals
    def save(self, path: FilePath | None = None, *, overwrite: bool = False) -> None:
        """Write the credentials to a zuliprc, which only its owner can read.

        The file is replaced at once, so that a crash leaves the old one or the
        new one. Other sections, other values and comments in it are kept.

        Args:
            path: The file; None as for `load`.
            overwrite: Whether to replace another account's credentials, or a
                file that is no zuliprc.

        Raises:
            ZuliprcError: The file holds another account, is a symbolic link,
                or cannot be written. It is as it was.
        """
        # What could not be loaded is not written either.
        values = _values(self)
        texts = all(value is None or isinstance(value, str) for value in values.values())
        if not texts or self._from_values(values, "What is to be saved") != self:
            raise ZuliprcError("What is to be saved is not as a login gives it.")
        update_zuliprc(resolve_zuliprc_path(path), partial(_values_beside, self, overwrite))

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what `AuthClient` takes for the three files; None where there are none.

        Raises:
            ZuliprcError: One of them cannot be used.
        """
        if not (self.cert_bundle or self.client_cert):
            return None
        try:
            context = ssl.create_default_context(cafile=self.cert_bundle)
            if self.client_cert:
                # An empty password, so that nobody is asked for one on the terminal.
                context.load_cert_chain(self.client_cert, self.client_cert_key, password="")
        except (OSError, ValueError, TypeError):  # the first of which ssl.SSLError is
            context = None
        if context is None:
            raise ZuliprcError(
                "cert_bundle, client_cert or client_cert_key names a file that cannot be used."
            )
        return context

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # A pickle ends up in caches, queues and core dumps, where nobody looks
        # for a secret.
        raise TypeError("Credentials are not pickled, since they hold the API key.")


def credentials_from_section(values: ZuliprcSection, where: str) -> Credentials:
    """Return the credentials that a zuliprc holds.

    Raises:
        ZuliprcError: Something is missing, or is not what it should be.
    """
    return Credentials._from_values(values, where)  # noqa: SLF001 - it is this module's own


_VARIABLES = {
    "email": "ZULIP_EMAIL",
    "key": "ZULIP_API_KEY",
    "site": "ZULIP_SITE",
    "cert_bundle": "ZULIP_CERT_BUNDLE",
}
_OF_THE_SITE = ("cert_bundle", "client_cert", "client_cert_key")


def _values(credentials: Credentials) -> ZuliprcSection:
    number = credentials.user_id
    return ZuliprcSection(
        email=credentials.email,
        key=credentials.api_key,
        site=credentials.site,
        user_id=None if number is None else str(number),
        **{name: getattr(credentials, name) for name in _OF_THE_SITE},
    )


def save_account(credentials: Credentials, path: pathlib.Path, *, overwrite: bool) -> None:
    """Write whose key it is to a zuliprc, and not the key."""
    update_zuliprc(path, partial(_values_beside, credentials, overwrite, keyless=True))


def _values_beside(
    credentials: Credentials, overwrite: bool, held: ZuliprcSection | None, *, keyless: bool = False
) -> ZuliprcSection | None:
    """Return what to write over what a file holds; None where that is another account's."""
    values = _values(credentials)
    if keyless:
        values["key"] = None
    if held is not None and matches_account(credentials.site, credentials.email, held):
        # A login knows no certificates: what the file says of them stays.
        return ZuliprcSection({n: v for n, v in values.items() if v or n not in _OF_THE_SITE})
    # Nothing of another site may stay, least of all that it is `insecure`.
    return ZuliprcSection(values, insecure=None) if overwrite else None


def render_credentials(credentials: Credentials) -> str:
    """Return what a zuliprc with nothing else in it says."""
    text = render_zuliprc(_values(credentials))
    assert text is not None  # as always, if there is nothing to be kept
    return text


def matches_account(site: str, email: str, held: ZuliprcSection) -> bool:
    """Tell whether what a file holds is an account's, as far as it says."""
    held_email, held_site = held.get("email"), held.get("site")
    return (held_email is None or held_email.casefold() == email.casefold()) and (
        held_site is None or try_normalize_site(held_site) == site
    )


def basic_auth_header(credentials: Credentials) -> str:
    """Return what the header Authorization says for credentials."""
    return "Basic " + b64encode(":".join(credentials.basic_auth).encode()).decode("ascii")
