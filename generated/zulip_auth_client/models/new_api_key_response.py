# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

from __future__ import annotations

from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    TypeVar,
    cast,
)

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="NewApiKeyResponse")


@_attrs_define
class NewApiKeyResponse:
    """Holds the new API key.

    Attributes:
        result (Literal['success']):
        msg (str): Empty.
        api_key (str): The secret that takes the old one's place.
    """

    result: Literal["success"]
    msg: str
    api_key: str = _attrs_field(repr=False)
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        result = self.result

        msg = self.msg

        api_key = self.api_key

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "result": result,
                "msg": msg,
                "api_key": api_key,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        result = cast(Literal["success"], d.pop("result"))
        if result != "success":
            raise ValueError(f"result must match const 'success', got '{result}'")

        msg = d.pop("msg")

        api_key = d.pop("api_key")

        new_api_key_response = cls(
            result=result,
            msg=msg,
            api_key=api_key,
        )

        new_api_key_response.additional_properties = d
        return new_api_key_response

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
