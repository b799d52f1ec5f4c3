# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="DevUser")


@_attrs_define
class DevUser:
    """
    Attributes:
        email (str): The account's e-mail address.
        realm_url (str | Unset): Its organization. Called `realm_uri` before Zulip 9.0 (feature level 257).
        realm_uri (str | Unset): The same, under its older name.
    """

    email: str
    realm_url: str | Unset = UNSET
    realm_uri: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        email = self.email

        realm_url = self.realm_url

        realm_uri = self.realm_uri

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "email": email,
            }
        )
        if realm_url is not UNSET:
            field_dict["realm_url"] = realm_url
        if realm_uri is not UNSET:
            field_dict["realm_uri"] = realm_uri

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        email = d.pop("email")

        realm_url = d.pop("realm_url", UNSET)

        realm_uri = d.pop("realm_uri", UNSET)

        dev_user = cls(
            email=email,
            realm_url=realm_url,
            realm_uri=realm_uri,
        )

        dev_user.additional_properties = d
        return dev_user

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
