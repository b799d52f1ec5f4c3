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

T = TypeVar("T", bound="CodedError")


@_attrs_define
class CodedError:
    """Says why the server refused, for people and for programs.

    Attributes:
        result (Literal['error']):
        msg (str): The reason in words, in the server's language.
        code (str | Unset): The reason for programs, such as `AUTHENTICATION_FAILED`. Absent from some answers of
            servers before 5.0, and from 405 answers.
        reason (str | Unset): What servers before 5.0 give in place of `code`, such as `incorrect_creds`.
        var_name (str | Unset): The parameter that is missing or malformed.
        retry_after (float | None | Unset): With 429, how long to wait, in seconds; the same as the header.
    """

    result: Literal["error"]
    msg: str
    code: str | Unset = UNSET
    reason: str | Unset = UNSET
    var_name: str | Unset = UNSET
    retry_after: float | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(
        init=False, factory=dict, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        result = self.result

        msg = self.msg

        code = self.code

        reason = self.reason

        var_name = self.var_name

        retry_after: float | None | Unset
        if isinstance(self.retry_after, Unset):
            retry_after = UNSET
        else:
            retry_after = self.retry_after

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "result": result,
                "msg": msg,
            }
        )
        if code is not UNSET:
            field_dict["code"] = code
        if reason is not UNSET:
            field_dict["reason"] = reason
        if var_name is not UNSET:
            field_dict["var_name"] = var_name
        if retry_after is not UNSET:
            field_dict["retry-after"] = retry_after

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        result = cast(Literal["error"], d.pop("result"))
        if result != "error":
            raise ValueError(f"result must match const 'error', got '{result}'")

        msg = d.pop("msg")

        code = d.pop("code", UNSET)

        reason = d.pop("reason", UNSET)

        var_name = d.pop("var_name", UNSET)

        def _parse_retry_after(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        retry_after = _parse_retry_after(d.pop("retry-after", UNSET))

        coded_error = cls(
            result=result,
            msg=msg,
            code=code,
            reason=reason,
            var_name=var_name,
            retry_after=retry_after,
        )

        coded_error.additional_properties = d
        return coded_error

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
