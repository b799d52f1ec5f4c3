"""Render docstrings and signatures as Markdown, for a repository view and a site alike."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import FunctionType
from typing import Any

import griffe

from zulip_auth import APIStatusError, RetryPolicy, ZulipAuthError
from zulip_auth import _exceptions as exceptions_module

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH = 80  # wider lines end below the copy button
# Private values and aliases in signatures, as a user would write them.
SPELLING = {
    "FilePath": "str | os.PathLike[str]",
    "str | _Hidden": "str",
    "Password": "PasswordProvider",
}
# Entries without a signature: users do not call them.
NOT_CALLED = {
    *("Account", "Bot", "CredentialStore", "Message", "Owner", "Realm", "ReceivedRequest"),
    *("ServerSettings", "fake_zulip"),
}
LABELS = {"attributes": "Attributes", "parameters": "Arguments", "raises": "Raises"}
# The other members of these are for the stand-in server itself.
MEMBERS: dict[str, set[str]] = {
    "zulip_auth.testing.Realm": {"site", "accounts", "account", "add_user", "add_bot"},
    "zulip_auth.testing.Account": {"admin", "is_bot", "regenerate_api_key"},
    "zulip_auth.testing.ExternalMethod": set(),
    "zulip_auth.testing.Message": {"type", "rendered_content", "flags"},
}
# A page of the guide, and text of the sample to show from it. The tests run these samples.
EXAMPLES = {
    "login": ("../README.md", "zulip_auth.login("),
    "dev_login": ("first-steps.md", "dev_login("),
    "AuthClient": ("first-steps.md", "AuthClient("),
    "RetryPolicy": ("retries.md", "RetryPolicy(attempts="),
    "Credentials": ("first-steps.md", "Credentials.load("),
    "SSOFlow": ("first-steps.md", "start_sso("),
    "ApiKeySource": ("bot-frameworks.md", "ApiKeySource("),
    "ZuliprcStore": ("keys.md", "ZuliprcStore("),
    "httpx_auth.ApiKeyAuth": ("first-steps.md", "httpx_auth"),
    "httpx2_auth.ApiKeyAuth": ("bot-frameworks.md", "httpx2_auth"),
    "aiohttp_auth.ApiKeyMiddleware": ("bot-frameworks.md", "aiohttp_auth"),
    "ZulipAuthError": ("errors.md", "except zulip_auth.ZulipAuthError"),
    "fake_zulip": ("testing.md", "(fake_zulip)"),
    "FakeZulip": ("testing.md", "async with FakeZulip("),
}


@dataclass(frozen=True)
class Page:
    """A page of the reference.

    Attributes:
        title: Title of the page.
        intro: First paragraph.
        names: Dotted names of its entries.
        types: Type aliases, with their definitions.
    """

    title: str
    intro: str
    names: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)


def _exceptions(cls: type[ZulipAuthError] = ZulipAuthError) -> Iterator[str]:
    yield f"zulip_auth.{cls.__name__}"
    for subclass in cls.__subclasses__():
        yield from _exceptions(subclass)


def _read_responses() -> dict[str, dict[str, None]]:
    """Return the recorded status codes and error codes of each exception."""
    found: dict[str, dict[str, None]] = {}
    rows = (DOCS / "servers.md").read_text(encoding="utf-8")
    for responses, name in re.findall(r"\| ([^|\n]*) \| \[`(\w+)`\]", rows):
        for response in re.findall(r"\b[45]\d\d\b(?: `[A-Z_]+`)?", responses):
            found.setdefault(name, {})[response] = None
    return found


RESPONSES = _read_responses()
TREE = (exceptions_module.__doc__ or "").partition("\n\n")[2].strip()
PAGES = {
    "client": Page(
        "Logging in",
        "The calls that log in, with their options and results. "
        "[Exceptions](exceptions.md) are on a page of their own.",
        (
            "zulip_auth.login",
            "zulip_auth.dev_login",
            "zulip_auth.AuthClient",
            "zulip_auth.RetryPolicy",
            "zulip_auth.Credentials",
            "zulip_auth.SSOFlow",
            "zulip_auth.ServerSettings",
            "zulip_auth.ExternalMethod",
            "zulip_auth.Owner",
            "zulip_auth.Bot",
            "zulip_auth.__version__",
        ),
    ),
    "keys": Page(
        "Shared keys",
        "One API key for many tasks, and the authentication of HTTP libraries with it.",
        (
            "zulip_auth.ApiKeySource",
            "zulip_auth.CredentialStore",
            "zulip_auth.ZuliprcStore",
            "zulip_auth.KeyringStore",
            "zulip_auth.httpx_auth.ApiKeyAuth",
            "zulip_auth.httpx2_auth.ApiKeyAuth",
            "zulip_auth.aiohttp_auth.ApiKeyMiddleware",
        ),
        {
            "PasswordProvider": "`str | Callable[[], Awaitable[str]]`: a password, or an async "
            "function without arguments that returns one. The function is called once for each "
            "login.",
        },
    ),
    "exceptions": Page(
        "Exceptions",
        "Every exception of zulip-auth: the reason, what to do, and the attributes that its "
        "subclasses also have. [Errors](../errors.md) shows their use, and "
        f"[Servers](../servers.md) which servers send the responses.\n\n```text\n{TREE}\n```",
        tuple(_exceptions()),
    ),
    "testing": Page(
        "Testing",
        "The stand-in server and its pytest fixture. [Test a bot](../testing.md) shows their use.",
        (
            "zulip_auth._pytest_plugin.fake_zulip",
            "zulip_auth.testing.FakeZulip",
            "zulip_auth.testing.Realm",
            "zulip_auth.testing.Account",
            "zulip_auth.testing.ExternalMethod",
            "zulip_auth.testing.ReceivedRequest",
            "zulip_auth.testing.Message",
        ),
        {
            "DevLogin": '`"on"`, `"off"` or `"production"`: whether the server offers development '
            "logins, rejects them, or does not have their endpoint.",
        },
    ),
}


def render_page(name: str) -> str:
    """Render a page of the reference."""
    page = PAGES[name]
    parts = [f"# {page.title}", page.intro]
    for dotted in page.names:
        parts += _entry(dotted, name)
    if page.types:
        parts.append("## Types")
    for alias, definition in page.types.items():
        parts += [f"### `{alias}`", definition]
    return "\n\n".join(parts) + "\n"


def headings(page: str) -> dict[str, str]:
    """Return the headings of a page, each with the dotted name of its object."""
    found = {}
    for dotted in PAGES[page].names:
        title = _title(dotted)
        found[title] = dotted
        found |= {f"{title}.{name}": f"{dotted}.{name}" for name in _members(dotted)}
    return found


def _title(dotted: str) -> str:
    return re.sub(r"^zulip_auth\.(testing\.|_pytest_plugin\.)?", "", dotted)


def _members(dotted: str) -> dict[str, Any]:
    """Return the public methods and properties of a class that have a docstring."""
    owner = resolve_name(dotted)
    listed = MEMBERS.get(dotted)
    return {
        name: value
        for name, value in (vars(owner) if inspect.isclass(owner) else {}).items()
        if not name.startswith("_")
        and (listed is None or name in listed)
        and isinstance(value, FunctionType | classmethod | staticmethod | property)
        and inspect.getdoc(value)
    }


@cache
def _targets() -> dict[str, str]:
    """Return the page and the anchor of each heading, as repository views and MyST compute it."""
    targets: dict[str, str] = {}
    for name, page in PAGES.items():
        for title in (*headings(name), *page.types):
            targets.setdefault(title, f"{name}.md#{title.lower().replace('.', '')}")
    return targets


def _text(text: str, page: str, scope: str = "") -> str:
    """Join the lines of each paragraph, and link URLs and the names of the reference.

    Args:
        text: A part of a docstring.
        page: The page that it is on.
        scope: The class whose members need no prefix in it.
    """

    def link(match: re.Match[str]) -> str:
        name = re.sub(r"^zulip_auth\.|^testing\.|^\.|\(\)$", "", match[1])
        target = _targets().get(f"{scope}.{name}") or _targets().get(name)
        return f"[{match[0]}]({target.removeprefix(f'{page}.md')})" if target else match[0]

    text = re.sub(r"(?<!\n)\n(?!\n|[-*] ) *", " ", text.strip())
    text = re.sub(r"(?<![<(`])(https://[\w./-]+\w)", r"<\1>", text)
    return re.sub(r"(?<![\[`])`([\w.]+(?:\(\))?)`(?!`)", link, text)


def _entry(dotted: str, page: str) -> Iterator[str]:
    """Render an object with its members."""
    title, value = _title(dotted), resolve_name(dotted)
    yield f"## `{title}`"
    if title == "__version__":
        yield "The version, a `str`."
        return
    if inspect.isclass(value) and issubclass(value, Exception):
        bases = " and ".join(f"`{base.__name__}`" for base in value.__bases__)
        yield _text(f"Bases: {bases}", page)
        responses = sorted(RESPONSES.get(title, ()))
        if responses and issubclass(value, APIStatusError):
            with_code = [
                response for response in responses if f"{response} `" not in str(responses)
            ]
            yield f"Recorded responses: {', '.join(with_code)}"
    yield from _body(value, title, page)
    if title in EXAMPLES:
        yield _example(*EXAMPLES[title])
    for name, member in _members(dotted).items():
        yield f"### `{title}.{name}`"
        yield from _body(member, name, page, scope=title)


def _example(guide: str, text: str) -> str:
    """Return the first sample of a guide that contains a text."""
    content = (DOCS / guide).read_text(encoding="utf-8")
    samples = re.findall(r"^```python\n.*?^```$", content, re.MULTILINE | re.DOTALL)
    found = [sample for sample in samples if text in sample]
    title = content.partition("\n")[0].removeprefix("# ")
    return f"Example, from [{title}](../{guide}):\n\n{found[0]}"


def _body(value: Any, name: str, page: str, scope: str = "") -> Iterator[str]:
    """Render the signature and the docstring of an object."""
    function = getattr(value, "_fixture_function", getattr(value, "__func__", value))
    signature = inspect.Signature()
    if isinstance(value, property):
        yield f"Property: `{_spell(inspect.signature(value.fget).return_annotation)}`"  # type: ignore[arg-type]
    elif not (inspect.isclass(value) and issubclass(value, Exception)):
        signature = inspect.signature(function)
        if name not in NOT_CALLED:
            yield _code(value, name, signature, is_method=bool(scope))
    scope = scope or name
    docstring = griffe.Docstring(inspect.getdoc(function) or "")
    for section in docstring.parse("google", returns_multiple_items=False, warnings=False):
        kind, content = section.kind.value, section.value
        if kind == "text":
            yield _text(content, page, scope)
            continue
        if kind == "returns":
            returns = f"Returns `{_spell(signature.return_annotation)}`: {content[0].description}"
            yield _text(returns, page, scope)
            continue
        rows = [f"{LABELS[kind]}:\n"]
        for item in content:
            if kind == "raises":
                label = _text(f"`{item.annotation}`", page)
            else:
                details = _details(signature.parameters.get(item.name), item.annotation)
                label = f"`{item.name}` ({_text(details, page)})"
            rows.append(f"- {label}: {_text(item.description, page, scope)}")
        yield "\n".join(rows)


def _details(parameter: inspect.Parameter | None, annotation: Any) -> str:
    """Return the type of a parameter, and its default."""
    if parameter is None:
        return f"`{annotation}`"
    shown = f"`{_spell(parameter.annotation)}`"
    if isinstance(parameter.default, bool | int | float | str):
        shown += f", default `{parameter.default!r}`"
    return shown


class _Verbatim(str):
    """Text that a signature shows without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


def _spell(annotation: Any) -> Any:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for private, public in SPELLING.items():
        text = re.sub(rf"\b{re.escape(private)}\b", public, text)
    return _Verbatim(re.sub(r"\b(typing|collections\.abc|zulip_auth(\._?\w+)*)\.|'", "", text))


def _spell_default(value: Any) -> Any:
    if isinstance(value, RetryPolicy):
        return _Verbatim("RetryPolicy()")
    return _Verbatim(f"{value.__module__}.{value.__name__}") if inspect.isroutine(value) else value


def _code(value: Any, name: str, signature: inspect.Signature, *, is_method: bool) -> str:
    """Render a signature as a code block, with one parameter on a line if it is long."""
    parameters = [
        parameter.replace(
            annotation=_spell(parameter.annotation), default=_spell_default(parameter.default)
        )
        for parameter in list(signature.parameters.values())[is_method:]
    ]
    prefix, returns = "", signature.empty
    if not inspect.isclass(value):
        prefix, returns = "def ", _spell(signature.return_annotation)
        if inspect.iscoroutinefunction(inspect.unwrap(getattr(value, "__func__", value))):
            prefix = "async def "
        if isinstance(value, classmethod):
            prefix = f"@classmethod\n{prefix}"
    name = name.rpartition(".")[2]
    code = f"{prefix}{name}{signature.replace(parameters=parameters, return_annotation=returns)}"
    if max(map(len, code.splitlines())) > WIDTH:
        lines = [f"    {parameter}," for parameter in parameters]
        kinds = [parameter.kind for parameter in parameters]
        if inspect.Parameter.KEYWORD_ONLY in kinds:
            lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "    *,")
        end = "" if returns is signature.empty else f" -> {returns}"
        code = "\n".join([f"{prefix}{name}(", *lines, f"){end}"])
    return f"```python\n{code}\n```"
