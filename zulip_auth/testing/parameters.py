"""Parameters of requests, declared by the signatures of the handlers.

The annotation of an argument is its type: a `str` is text, a `Literal` one of
some values, anything else JSON. The server checks the parameters in the order
of the signature. The texts of errors are those of Zulip 10.0.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from attrs import frozen

from .errors import ErrorResponse, bad_request

_NAMES = {int: "an integer", bool: "a boolean", str: "a string", list: "a list", dict: "a dict"}
_REQUIRED = inspect.Parameter.empty


@frozen
class Rule:
    """A further property of a parameter, for an `Annotated` type.

    Attributes:
        alias: Older name of the parameter.
        minimum: Smallest number.
        max_length: Largest number of characters.
    """

    alias: str | None = None
    minimum: int | None = None
    max_length: int | None = None


Topic = Annotated[str, Rule(alias="subject")]
Count = Annotated[int, Rule(minimum=0)]


@frozen
class Parameter:
    """A parameter of an endpoint.

    Attributes:
        argument: Name of the handler's argument.
        kind: Type of its value.
        default: Value if it is absent.
        optional: Whether its value can be None.
        rule: Further properties.
    """

    argument: str
    kind: Any
    default: Any
    optional: bool = False
    rule: Rule = Rule()

    @classmethod
    def declare(cls, name: str, annotation: Any, default: Any = None) -> Parameter:
        """Return the parameter of an argument."""
        optional = False
        if NoneType in get_args(annotation):
            annotation, optional = get_args(annotation)[0], True
        rule = Rule()
        if get_origin(annotation) is Annotated:
            annotation, rule = get_args(annotation)
        return cls(name, annotation, default, optional, rule)

    @property
    def name(self) -> str:
        """Return the name in requests. Zulip's `type` is a builtin in Python."""
        return self.argument.rstrip("_")

    def parse(self, params: dict[str, str]) -> Any:
        """Return the value of the parameter in a request."""
        found = [name for name in (self.name, self.rule.alias) if name in params]
        if len(found) > 1:
            msg = f"Can't decide between '{found[0]}' and '{found[1]}' arguments"
            names = {"var_name1": found[0], "var_name2": found[1]}
            raise ErrorResponse(400, "REQUEST_CONFUSING_VAR", msg, **names)
        if found:
            return self._convert(params[str(found[0])])
        if self.default is _REQUIRED:
            msg = f"Missing '{self.name}' argument"
            raise ErrorResponse(400, "REQUEST_VARIABLE_MISSING", msg, var_name=self.name)
        return self.default

    def _convert(self, text: str) -> Any:
        name, rule = self.name, self.rule
        if get_origin(self.kind) is Literal:
            if text not in get_args(self.kind):
                raise bad_request(f"Invalid {name}")
            return text
        if self.kind is str:
            if rule.max_length is not None and len(text) > rule.max_length:
                raise bad_request(f"{name} is too long (limit: {rule.max_length} characters)")
            return text
        value: Any
        try:
            value = json.loads(text)
        except ValueError:
            raise bad_request(f"{name} is not valid JSON") from None
        if self.optional and text.strip() == "null":
            return None
        _check(name, value, self.kind)
        if rule.minimum is not None and value < rule.minimum:
            raise bad_request(f"{name} is too small")
        return value


def declared_parameters(handler: Callable[..., Any], path: str) -> list[Parameter]:
    """Return the parameters of a handler that are not in the path."""
    _, *arguments = inspect.signature(handler, eval_str=True).parameters.values()
    return [
        Parameter.declare(argument.name, argument.annotation, argument.default)
        for argument in arguments
        if argument.kind is not argument.VAR_KEYWORD
        and f"{{{argument.name}}}" not in path
        and f"{{{argument.name}:" not in path
    ]


def _check(name: str, value: Any, kind: Any) -> None:
    """Raise an error unless a JSON value has a type, such as `list[int]`."""
    if kind is Any:
        return
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    origin = list if origin is Sequence else origin
    if type(value) is not origin:
        raise bad_request(f"{name} is not {_NAMES[origin]}")
    if not arguments:
        return
    items: Iterable[tuple[Any, Any]] = enumerate(value)
    if isinstance(value, dict):
        items = value.items()
    for key, item in items:
        _check(f"{name}[{json.dumps(key)}]", item, arguments[-1])
