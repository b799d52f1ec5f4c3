"""Render docstrings and signatures as Markdown, for a repository view and a site alike."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import attrs
import griffe

from zulip_auth import ZulipAuthError
from zulip_auth import _exceptions as exceptions_module

WIDTH = 80  # wider lines end below the copy button
PYTHON = "https://docs.python.org/3/library/"
EXTERNAL = {
    "os.PathLike": f"{PYTHON}os.html#os.PathLike",
    "ssl.SSLContext": f"{PYTHON}ssl.html#ssl.SSLContext",
    "httpx.AsyncBaseTransport": "https://www.python-httpx.org/advanced/transports/",
    "Request": "https://www.starlette.io/requests/",
    "Response": "https://www.starlette.io/responses/",
    "Starlette": "https://www.starlette.io/applications/",
}
# Private values and aliases in signatures, as a user would write them.
SPELLING = {
    "DEFAULT_RETRY_POLICY": "RetryPolicy()",
    "FilePath": "str | os.PathLike[str]",
    "str | _Hidden": "str",
    "Password": "PasswordProvider",
}
# Classes that the library creates, and not its users.
CREATED = {"Account", "Realm", "ReceivedRequest"}
# Types of the language, which need no explanation.
KNOWN_TYPES = {
    "Any", "AsyncGenerator", "Awaitable", "Callable", "Iterator", "Literal", "Mapping", "None",
    "Self", "Sequence", "bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple",
    "type",
}  # fmt: skip


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
    types: Mapping[str, str]


def _exceptions(cls: type[ZulipAuthError] = ZulipAuthError) -> Iterator[str]:
    yield f"zulip_auth.{cls.__name__}"
    for subclass in cls.__subclasses__():
        yield from _exceptions(subclass)


def _tree() -> str:
    """Return the drawing of the hierarchy."""
    return (exceptions_module.__doc__ or "").partition("\n\n")[2].strip()


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
        {},
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
        "subclasses also have. [Errors](../errors.md) shows their use.\n\n"
        f"```text\n{_tree()}\n```",
        tuple(_exceptions()),
        {},
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
    parts = [f"# {page.title}\n\n{page.intro}"]
    parts += [_Entry(name, dotted).render() for dotted in page.names]
    link = partial(_link, page=name, scope="")
    if page.types:
        parts.append("## Types")
    for alias, definition in page.types.items():
        parts.append(f"### `{alias}`\n\n{_link_code(definition, link)}")
    return "\n\n".join(parts) + "\n"


def _title(dotted: str) -> str:
    """Return the heading of an entry: its name, with a public module before it."""
    return re.sub(r"^zulip_auth\.(testing\.|_pytest_plugin\.)?", "", dotted)


def _slug(title: str) -> str:
    """Return the anchor of a heading, as repository views and MyST compute it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _targets() -> dict[str, tuple[str, str]]:
    """Return page and anchor of every name that has a heading."""
    targets: dict[str, tuple[str, str]] = {}
    for page_name, page in PAGES.items():
        for dotted in page.names:
            title = _title(dotted)
            targets.setdefault(title, (page_name, _slug(title)))
            for member, _ in _members(_load(dotted)):
                targets.setdefault(f"{title}.{member}", (page_name, _slug(f"{title}.{member}")))
        for alias in page.types:
            targets[alias] = (page_name, _slug(alias))
    return targets


def _link(name: str, page: str, scope: str) -> str | None:
    """Return the URL of a name in a docstring.

    Args:
        name: The name, which may be relative to *scope*.
        page: The page that links to it.
        scope: The class whose docstring it is in, if any.
    """
    name = name.removesuffix("()").removeprefix("zulip_auth.").removeprefix("testing.")
    if name in EXTERNAL:
        return EXTERNAL[name]
    targets = _targets()
    scopes = [*([f"{scope}.{name}"] if scope else []), name]
    for candidate in scopes:
        if candidate in targets:
            target, anchor = targets[candidate]
            return f"#{anchor}" if target == page else f"{target}.md#{anchor}"
    return None


def _link_code(text: str, link: Callable[[str], str | None]) -> str:
    """Turn code spans that are a name of the reference into links."""

    def replace(match: re.Match[str]) -> str:
        url = link(match[1].lstrip("."))
        return f"[{match[0]}]({url})" if url else match[0]

    return re.sub(r"(?<![\[`])`([\w.]+(?:\(\))?)`(?!`)", replace, text)


def _load(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def _members(obj: Any) -> list[tuple[str, Any]]:
    """Return the public methods and properties of a class that have a docstring."""
    if not inspect.isclass(obj):
        return []
    return [
        (name, value)
        for name, value in vars(obj).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property))
        and inspect.getdoc(value)
    ]


class _Entry:
    """A name with its members.

    Args:
        page: Name of the page that it is on.
        dotted: The dotted name.
    """

    def __init__(self, page: str, dotted: str) -> None:
        self._page = page
        self._title = _title(dotted)
        self._object = _load(dotted)

    def render(self) -> str:
        title = self._title
        if title == "__version__":
            return f"## `{title}`\n\nThe version, a `str`."
        parts = [f"## `{title}`"]
        obj = self._object
        if inspect.isclass(obj):
            scope = title
            if issubclass(obj, BaseException):
                bases = [f"`{base.__name__}`" for base in obj.__bases__]
                linked = _link_code(" and ".join(bases), partial(_link, page=self._page, scope=""))
                parts.append(f"Bases: {linked}")
            elif obj.__name__ not in CREATED and (signature := _class_signature(obj)):
                parts.append(_code(title.rpartition(".")[2], signature))
            parts.append(self._body(obj, scope, _class_signature(obj)))
            for name, value in _members(obj):
                parts.append(self._member(f"{title}.{name}", name, value))
        else:
            obj = getattr(obj, "_fixture_function", obj)
            prefix = "async def " if inspect.iscoroutinefunction(inspect.unwrap(obj)) else "def "
            signature = inspect.signature(obj)
            if hasattr(self._object, "_fixture_function"):
                parts.append("A pytest fixture.")
            else:
                parts.append(_code(prefix + title, signature))
            parts.append(self._body(obj, "", signature))
        return "\n\n".join(filter(None, parts))

    def _member(self, title: str, name: str, value: Any) -> str:
        scope = self._title
        parts = [f"### `{title}`"]
        if isinstance(value, property):
            assert value.fget is not None
            signature = inspect.signature(value.fget)
            parts.append(f"Property: {self._type(signature.return_annotation)}")
            parts.append(self._body(value, scope, None))
            return "\n\n".join(parts)
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        signature = inspect.signature(function)
        if not isinstance(value, staticmethod):
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        prefix = "async def " if inspect.iscoroutinefunction(inspect.unwrap(function)) else "def "
        if isinstance(value, classmethod):
            prefix = "@classmethod\n" + prefix
        parts += [_code(prefix + name, signature), self._body(function, scope, signature)]
        return "\n\n".join(filter(None, parts))

    def _text(self, text: str, scope: str) -> str:
        """Join the lines of each paragraph, and add links."""
        paragraphs = []
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            if re.match(r"    ", paragraph):
                paragraphs.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
                continue
            lines = re.sub(r"\n(?![-*] )\s*", " ", paragraph)
            lines = re.sub(r"(?<![<(])(https://[\w./-]+\w)", r"<\1>", lines)
            paragraphs.append(_link_code(lines, partial(_link, page=self._page, scope=scope)))
        return "\n\n".join(paragraphs)

    def _type(self, annotation: Any) -> str:
        """Render a type, with links and with "or" for a union."""
        if annotation in (inspect.Parameter.empty, None):
            return ""
        text = re.sub(r"'([\w.]+)'", r"\1", _spell(annotation))
        link = partial(_link, page=self._page, scope="")
        for name in re.findall(r"[A-Za-z_][\w.]*", re.sub(r'"\w+"', "", text)):
            if name not in KNOWN_TYPES and not link(name):
                raise ValueError(f"{self._title} has the type {name}, which no page explains.")
        parts = re.split(r" \| (?![^\[]*\])", text)
        shown = []
        for part in parts:
            url = link(part.partition("[")[0])
            shown.append("None" if part == "None" else f"[`{part}`]({url})" if url else f"`{part}`")
        return " or ".join(shown)

    def _body(self, obj: Any, scope: str, signature: inspect.Signature | None) -> str:
        docstring = inspect.getdoc(obj) or ""
        parameters: Mapping[str, inspect.Parameter] = signature.parameters if signature else {}
        parts = []
        for section in griffe.Docstring(docstring).parse("google", warnings=False):
            text = partial(self._text, scope=scope)
            kind = section.kind.value
            value: Any = section.value
            if kind == "text":
                # A fact's source is not a section of its own.
                parts.append(text(value))
            elif kind == "parameters":
                rows = [
                    f"- `{item.name}`{self._details(parameters.get(item.name))}: "
                    f"{text(item.description)}"
                    for item in value
                ]
                parts.append("Arguments:\n\n" + "\n".join(rows))
            elif kind == "attributes":
                rows = []
                for item in value:
                    field = parameters.get(item.name)
                    details = self._details(field) if field else ""
                    if not details and item.annotation:
                        details = f" ({self._type(str(item.annotation))})"
                    rows.append(f"- `{item.name}`{details}: {text(item.description)}")
                parts.append("Attributes:\n\n" + "\n".join(rows))
            elif kind == "returns":
                annotation = signature.return_annotation if signature else ""
                joined = " ".join(
                    f"{item.annotation}: {item.description}"
                    if item.annotation and not signature
                    else item.description
                    for item in value
                )
                shown = self._type(annotation)
                parts.append(
                    f"Returns {shown}: {text(joined)}" if shown else f"Returns: {text(joined)}"
                )
            elif kind == "raises":
                rows = [
                    f"- {text(f'`{item.annotation}`')}: {text(item.description)}" for item in value
                ]
                parts.append("Raises:\n\n" + "\n".join(rows))
            elif kind == "admonition":
                title = section.title or "Note"
                parts.append(f"{title}: {text(value.contents)}")
            elif kind == "examples":
                parts += [text(content) for _, content in value]
            else:
                raise ValueError(f"{scope}: a docstring has a section of the kind {kind!r}.")
        return "\n\n".join(parts)

    def _details(self, parameter: inspect.Parameter | None) -> str:
        if parameter is None:
            return ""
        shown = self._type(parameter.annotation)
        if parameter.default not in (inspect.Parameter.empty, None, attrs.NOTHING):
            default = _spell_default(parameter.default)
            shown += f", default `{default}`" if shown else f"default `{default}`"
        return f" ({shown})" if shown else ""


def _class_signature(cls: type) -> inspect.Signature | None:
    initializer = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if initializer.__module__ == "builtins" or issubclass(cls, BaseException):
        return None
    signature = inspect.signature(cls)
    return signature.replace(return_annotation=inspect.Signature.empty)


def _spell(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for private, public in SPELLING.items():
        text = re.sub(rf"\b{re.escape(private)}\b", public, text)
    return re.sub(r"\b(typing|collections\.abc|zulip_auth(\._?\w+)*)\.", "", text)


def _spell_default(value: Any) -> str:
    if type(value).__name__ == "RetryPolicy":
        return "RetryPolicy()"
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__name__}"
    return repr(value)


def _code(name: str, signature: inspect.Signature) -> str:
    """Render a signature as a code block, with one parameter on a line if it is long."""
    parts = []
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.KEYWORD_ONLY and (
            index == 0 or kinds[index - 1] is not parameter.KEYWORD_ONLY
        ):
            parts.append("*")
        text = parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_spell(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_spell_default(parameter.default)}"
        parts.append(text)
        if parameter.kind is parameter.POSITIONAL_ONLY and (
            index + 1 == len(kinds) or kinds[index + 1] is not parameter.POSITIONAL_ONLY
        ):
            parts.append("/")
    returns = ""
    if signature.return_annotation is not signature.empty:
        returns = f" -> {_spell(signature.return_annotation)}"
    line = f"{name}({', '.join(parts)}){returns}"
    if len(line.rpartition("\n")[2]) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"
    return f"```python\n{line}\n```"
