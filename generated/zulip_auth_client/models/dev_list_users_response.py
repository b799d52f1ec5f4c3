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

if TYPE_CHECKING:
    from ..models.dev_user import DevUser


T = TypeVar("T", bound="DevListUsersResponse")


@_attrs_define
class DevListUsersResponse:
    """Names the accounts, administrators first.

    Attributes:
        result (Literal['success']):
        msg (str): Empty.
        direct_admins (list[DevUser]):
        direct_users (list[DevUser]):
    """

    result: Literal["success"]
    msg: str
    direct_admins: list[DevUser]
    direct_users: list[DevUser]
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        result = self.result

        msg = self.msg

        direct_admins = []
        for direct_admins_item_data in self.direct_admins:
            direct_admins_item = direct_admins_item_data.to_dict()
            direct_admins.append(direct_admins_item)

        direct_users = []
        for direct_users_item_data in self.direct_users:
            direct_users_item = direct_users_item_data.to_dict()
            direct_users.append(direct_users_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "result": result,
                "msg": msg,
                "direct_admins": direct_admins,
                "direct_users": direct_users,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.dev_user import DevUser  # noqa: PLC0415

        d = dict(src_dict)
        result = cast(Literal["success"], d.pop("result"))
        if result != "success":
            raise ValueError(f"result must match const 'success', got '{result}'")

        msg = d.pop("msg")

        direct_admins = []
        _direct_admins = d.pop("direct_admins")
        for direct_admins_item_data in _direct_admins:
            direct_admins_item = DevUser.from_dict(direct_admins_item_data)

            direct_admins.append(direct_admins_item)

        direct_users = []
        _direct_users = d.pop("direct_users")
        for direct_users_item_data in _direct_users:
            direct_users_item = DevUser.from_dict(direct_users_item_data)

            direct_users.append(direct_users_item)

        dev_list_users_response = cls(
            result=result,
            msg=msg,
            direct_admins=direct_admins,
            direct_users=direct_users,
        )

        dev_list_users_response.additional_properties = d
        return dev_list_users_response

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
