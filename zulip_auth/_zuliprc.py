"""The file in which every Zulip tool looks for an account's key.

It reads and writes values; what they mean is the business of `_credentials.py`.
No text of a file is in a frame that raises, since a traceback may show variables.
"""

from __future__ import annotations

import os
import re
import secrets
import warnings
from collections.abc import Callable
from configparser import ConfigParser, Error, InterpolationError
from contextlib import suppress
from pathlib import Path

from ._errors import ZuliprcError

_SECTION = "api"
_MOST_BYTES = 64 * 1024
_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^\s:=][^:=]*?)\s*[:=]")


class Values(dict[str, str | None]):
    """What stands in the section `[api]`, or shall; None is for what is not there."""

    def __repr__(self) -> str:
        return f"<values of [{_SECTION}]>"


def zuliprc_path(path: str | os.PathLike[str] | None) -> Path:
    """Return where the file is: as given, else as ZULIP_CONFIG says, else `~/.zuliprc`.

    Raises:
        ZuliprcError: It is no path, or there is no home directory.
    """
    with suppress(TypeError, RuntimeError):
        return Path(path or os.environ.get("ZULIP_CONFIG") or "~/.zuliprc").expanduser()
    raise ZuliprcError("The path of a zuliprc must be a str or a Path, in a home that exists.")


def read_zuliprc(path: Path) -> Values:
    """Return what stands in the section `[api]`.

    It warns where others than the file's owner may read it.

    Raises:
        ZuliprcError: There is no such file, it cannot be read, or it is no
            zuliprc. The error repeats nothing of it.
    """
    values, problem = _values_in(path)
    if values is None:
        raise ZuliprcError(f"{path} {problem}")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        warnings.warn(
            f"Others than the owner of {path} may read it. Take that from them: chmod 600 {path}",
            stacklevel=3,
        )
    return values


def write_zuliprc(path: Path, decide: Callable[[Values | None], Values | None]) -> None:
    """Set values in the section `[api]`, so that nobody sees the file half-written.

    Whatever else is in the file stays: other sections, other values, comments.

    Args:
        path: Where the file is, or will be.
        decide: Called with what the section holds now, or with None where the
            file that is there is no zuliprc. Returns what to set, where None
            removes a value; or None in place of all where the file must stay.

    Raises:
        ZuliprcError: The file must stay, or cannot be replaced. It is as it was.
    """
    problem = _rewrite(path, decide)
    if problem is not None:
        raise ZuliprcError(f"{path} {problem}")


def zuliprc_text(values: Values, old: str = "") -> str | None:
    """Return a file's text with other values, or None where that would change more than them."""
    lines: list[str] = []
    ours = [f"{n} = {v.replace('%', '%%')}" for n, v in values.items() if v is not None]
    inside = dropped = done = False
    for line in old.split("\n"):
        if line[:1].isspace() and line.strip():  # it goes on with the value before
            if not dropped:
                lines.append(line)
            continue
        header, option = _HEADER.match(line), _OPTION.match(line)
        if header:
            inside = header[1] == _SECTION
        dropped = bool(inside and option and not header and option[1].lower() in values)
        if not dropped:
            lines.append(line)
        if header and inside:
            lines += ours
            done = True
    if not done:
        lines += [f"[{_SECTION}]", *ours]
    text = "\n".join(lines).strip("\n") + "\n"
    return text if _is_changed_as_meant(old, text, values) else None


def _is_changed_as_meant(old: str, new: str, values: Values) -> bool:
    before, after = _parse(old), _parse(new)
    if before is None or after is None:
        return False
    wanted = {name: dict(before.items(name, raw=True)) for name in before.sections()}
    found = {name: dict(after.items(name, raw=True)) for name in after.sections()}
    wanted.setdefault(_SECTION, {})
    for name in values:
        wanted[_SECTION].pop(name, None)
        found[_SECTION].pop(name, None)
    read = _values_of(after)
    return wanted == found and all(read.get(name) == value for name, value in values.items())


def _values_in(path: Path) -> tuple[Values | None, str]:
    """Return what a file holds, or None and what is wrong with it."""
    text, problem = _text_of(path)
    parser = None if text is None else _parse(text)
    if parser is not None and parser.has_section(_SECTION):
        return _values_of(parser), ""
    return None, problem or (
        f"is no zuliprc: that has a section [{_SECTION}], with a name and a value on each line. "
        "`zulip-auth login` writes one."
    )


def _text_of(path: Path) -> tuple[str | None, str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            return None, "is no zuliprc: it is too long."
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None, "is no zuliprc: it is not written in UTF-8."
    except (OSError, ValueError) as error:
        return None, f"cannot be read: {_reason(error)}."
    return text.replace("\r\n", "\n").replace("\r", "\n"), ""


def _parse(text: str) -> ConfigParser | None:
    parser = ConfigParser()
    try:
        parser.read_string(text)
    except Error:  # which repeats the line
        return None
    return parser


def _values_of(parser: ConfigParser) -> Values:
    return Values({name: _value(parser, name) for name in parser[_SECTION]})


def _value(parser: ConfigParser, name: str) -> str:
    # Zulip's own client wants a % written twice; other tools write what they have.
    try:
        return parser.get(_SECTION, name)
    except InterpolationError:
        return parser.get(_SECTION, name, raw=True)


def _rewrite(path: Path, decide: Callable[[Values | None], Values | None]) -> str | None:
    """Write a file anew, or return what speaks against it."""
    try:
        if path.is_symlink():
            return "is a symbolic link. Give the path that it leads to."
        is_new = not path.exists()
        held = Values() if is_new else _values_in(path)[0]
        values = decide(held)
        if values is None:
            return "holds something else than this account. Overwrite it, or save elsewhere."
        old = "" if is_new or held is None else _text_of(path)[0]
        text = None if old is None else zuliprc_text(values, old)
        if text is None:
            return "cannot hold this, or cannot be changed safely. Save elsewhere."
        _replace(path, text)
    except (OSError, ValueError) as error:
        return f"cannot be written: {_reason(error)}."
    return None


def _replace(path: Path, text: str) -> None:
    """Put a file in another's place, at once and for good."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # where directories cannot be opened, as on Windows
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "that is no path"
