# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from __future__ import annotations

from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeVar,
    cast,
)

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.authentication_methods import AuthenticationMethods
    from ..models.external_authentication_method import ExternalAuthenticationMethod


T = TypeVar("T", bound="ServerSettingsResponse")


@_attrs_define
class ServerSettingsResponse:
    """Describes the server, the organization and its ways to log in.

    Attributes:
        result (Literal['success']):
        msg (str): Empty.
        zulip_version (str): A release such as `10.4`, or a version from Git.
        zulip_feature_level (int | Unset): Absent before Zulip 3.0, which means 0.
        realm_url (str | Unset): The organization's canonical address. Absent before Zulip 9.0 (feature level 257), and
            at the root of a server with many.
        realm_uri (str | Unset): The same, under its older name.
        realm_name (str | Unset): The organization's name, for people.
        email_auth_enabled (bool | Unset): Whether an e-mail address and a password log in.
        require_email_format_usernames (bool | Unset): Whether usernames are e-mail addresses; false with some LDAP
            settings.
        authentication_methods (AuthenticationMethods | Unset): Says which ways to log in are turned on. There are more
            than are named here.
        external_authentication_methods (list[ExternalAuthenticationMethod] | Unset): The ways to log in through a
            browser, in the order in which they should be shown. Absent before Zulip 2.1.
    """

    result: Literal["success"]
    msg: str
    zulip_version: str
    zulip_feature_level: int | Unset = UNSET
    realm_url: str | Unset = UNSET
    realm_uri: str | Unset = UNSET
    realm_name: str | Unset = UNSET
    email_auth_enabled: bool | Unset = UNSET
    require_email_format_usernames: bool | Unset = UNSET
    authentication_methods: AuthenticationMethods | Unset = UNSET
    external_authentication_methods: list[ExternalAuthenticationMethod] | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        result = self.result

        msg = self.msg

        zulip_version = self.zulip_version

        zulip_feature_level = self.zulip_feature_level

        realm_url = self.realm_url

        realm_uri = self.realm_uri

        realm_name = self.realm_name

        email_auth_enabled = self.email_auth_enabled

        require_email_format_usernames = self.require_email_format_usernames

        authentication_methods: dict[str, Any] | Unset = UNSET
        if not isinstance(self.authentication_methods, Unset):
            authentication_methods = self.authentication_methods.to_dict()

        external_authentication_methods: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.external_authentication_methods, Unset):
            external_authentication_methods = []
            for (
                external_authentication_methods_item_data
            ) in self.external_authentication_methods:
                external_authentication_methods_item = (
                    external_authentication_methods_item_data.to_dict()
                )
                external_authentication_methods.append(
                    external_authentication_methods_item
                )

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "result": result,
                "msg": msg,
                "zulip_version": zulip_version,
            }
        )
        if zulip_feature_level is not UNSET:
            field_dict["zulip_feature_level"] = zulip_feature_level
        if realm_url is not UNSET:
            field_dict["realm_url"] = realm_url
        if realm_uri is not UNSET:
            field_dict["realm_uri"] = realm_uri
        if realm_name is not UNSET:
            field_dict["realm_name"] = realm_name
        if email_auth_enabled is not UNSET:
            field_dict["email_auth_enabled"] = email_auth_enabled
        if require_email_format_usernames is not UNSET:
            field_dict["require_email_format_usernames"] = (
                require_email_format_usernames
            )
        if authentication_methods is not UNSET:
            field_dict["authentication_methods"] = authentication_methods
        if external_authentication_methods is not UNSET:
            field_dict["external_authentication_methods"] = (
                external_authentication_methods
            )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.authentication_methods import AuthenticationMethods  # noqa: PLC0415
        from ..models.external_authentication_method import ExternalAuthenticationMethod  # noqa: PLC0415

        d = dict(src_dict)
        result = cast(Literal["success"], d.pop("result"))
        if result != "success":
            raise ValueError(f"result must match const 'success', got '{result}'")

        msg = d.pop("msg")

        zulip_version = d.pop("zulip_version")

        zulip_feature_level = d.pop("zulip_feature_level", UNSET)

        realm_url = d.pop("realm_url", UNSET)

        realm_uri = d.pop("realm_uri", UNSET)

        realm_name = d.pop("realm_name", UNSET)

        email_auth_enabled = d.pop("email_auth_enabled", UNSET)

        require_email_format_usernames = d.pop("require_email_format_usernames", UNSET)

        _authentication_methods = d.pop("authentication_methods", UNSET)
        authentication_methods: AuthenticationMethods | Unset
        if isinstance(_authentication_methods, Unset):
            authentication_methods = UNSET
        else:
            authentication_methods = AuthenticationMethods.from_dict(
                _authentication_methods
            )

        _external_authentication_methods = d.pop(
            "external_authentication_methods", UNSET
        )
        external_authentication_methods: list[ExternalAuthenticationMethod] | Unset = (
            UNSET
        )
        if _external_authentication_methods is not UNSET:
            external_authentication_methods = []
            for (
                external_authentication_methods_item_data
            ) in _external_authentication_methods:
                external_authentication_methods_item = (
                    ExternalAuthenticationMethod.from_dict(
                        external_authentication_methods_item_data
                    )
                )

                external_authentication_methods.append(
                    external_authentication_methods_item
                )

        server_settings_response = cls(
            result=result,
            msg=msg,
            zulip_version=zulip_version,
            zulip_feature_level=zulip_feature_level,
            realm_url=realm_url,
            realm_uri=realm_uri,
            realm_name=realm_name,
            email_auth_enabled=email_auth_enabled,
            require_email_format_usernames=require_email_format_usernames,
            authentication_methods=authentication_methods,
            external_authentication_methods=external_authentication_methods,
        )

        server_settings_response.additional_properties = d
        return server_settings_response

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
