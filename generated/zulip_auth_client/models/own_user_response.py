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

from ..types import UNSET, Unset

T = TypeVar("T", bound="OwnUserResponse")


@_attrs_define
class OwnUserResponse:
    """Says whose key it is. There is more in it than is named here.

    Attributes:
        result (Literal['success']):
        msg (str): Empty.
        user_id (int): The account's number.
        email (str): An address for the API. It may differ from the one that logs in, which is `delivery_email`.
        full_name (str): The owner's name.
        delivery_email (str | Unset): The account's e-mail address. Always there since Zulip 7.0 (feature level 163).
        role (int | Unset): 100 owner, 200 administrator, 300 moderator, 400 member, 600 guest. Absent before Zulip 4.0
            (feature level 59).
        is_owner (bool | Unset): Whether the account is an owner of the organization.
        is_admin (bool | Unset): Whether the account is an administrator or an owner.
        is_guest (bool | Unset): Whether the account is a guest.
    """

    result: Literal["success"]
    msg: str
    user_id: int
    email: str
    full_name: str
    delivery_email: str | Unset = UNSET
    role: int | Unset = UNSET
    is_owner: bool | Unset = UNSET
    is_admin: bool | Unset = UNSET
    is_guest: bool | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        result = self.result

        msg = self.msg

        user_id = self.user_id

        email = self.email

        full_name = self.full_name

        delivery_email = self.delivery_email

        role = self.role

        is_owner = self.is_owner

        is_admin = self.is_admin

        is_guest = self.is_guest

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "result": result,
                "msg": msg,
                "user_id": user_id,
                "email": email,
                "full_name": full_name,
            }
        )
        if delivery_email is not UNSET:
            field_dict["delivery_email"] = delivery_email
        if role is not UNSET:
            field_dict["role"] = role
        if is_owner is not UNSET:
            field_dict["is_owner"] = is_owner
        if is_admin is not UNSET:
            field_dict["is_admin"] = is_admin
        if is_guest is not UNSET:
            field_dict["is_guest"] = is_guest

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        result = cast(Literal["success"], d.pop("result"))
        if result != "success":
            raise ValueError(f"result must match const 'success', got '{result}'")

        msg = d.pop("msg")

        user_id = d.pop("user_id")

        email = d.pop("email")

        full_name = d.pop("full_name")

        delivery_email = d.pop("delivery_email", UNSET)

        role = d.pop("role", UNSET)

        is_owner = d.pop("is_owner", UNSET)

        is_admin = d.pop("is_admin", UNSET)

        is_guest = d.pop("is_guest", UNSET)

        own_user_response = cls(
            result=result,
            msg=msg,
            user_id=user_id,
            email=email,
            full_name=full_name,
            delivery_email=delivery_email,
            role=role,
            is_owner=is_owner,
            is_admin=is_admin,
            is_guest=is_guest,
        )

        own_user_response.additional_properties = d
        return own_user_response

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
