# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="ExternalAuthenticationMethod")


@_attrs_define
class ExternalAuthenticationMethod:
    """
    Attributes:
        name (str): A name for programs, such as `google`.
        display_name (str): A name for people.
        login_url (str): Where a login begins; usually a path on this server.
    """

    name: str
    display_name: str
    login_url: str
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        name = self.name

        display_name = self.display_name

        login_url = self.login_url

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "name": name,
                "display_name": display_name,
                "login_url": login_url,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        name = d.pop("name")

        display_name = d.pop("display_name")

        login_url = d.pop("login_url")

        external_authentication_method = cls(
            name=name,
            display_name=display_name,
            login_url=login_url,
        )

        external_authentication_method.additional_properties = d
        return external_authentication_method

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
