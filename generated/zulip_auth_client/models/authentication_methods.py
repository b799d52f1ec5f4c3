# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="AuthenticationMethods")


@_attrs_define
class AuthenticationMethods:
    """Says which ways to log in are turned on. There are more than are named here.

    Attributes:
        password (bool | Unset): Whether any kind of password logs in.
        dev (bool | Unset): Whether development logins are offered.
        ldap (bool | Unset): Whether LDAP passwords log in.
    """

    password: bool | Unset = UNSET
    dev: bool | Unset = UNSET
    ldap: bool | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        password = self.password

        dev = self.dev

        ldap = self.ldap

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if password is not UNSET:
            field_dict["password"] = password
        if dev is not UNSET:
            field_dict["dev"] = dev
        if ldap is not UNSET:
            field_dict["ldap"] = ldap

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        password = d.pop("password", UNSET)

        dev = d.pop("dev", UNSET)

        ldap = d.pop("ldap", UNSET)

        authentication_methods = cls(
            password=password,
            dev=dev,
            ldap=ldap,
        )

        authentication_methods.additional_properties = d
        return authentication_methods

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
