"""The file in which every Zulip tool looks for an account's key.

It reads and writes values; what they mean is the business of `_credentials.py`.
No text of a file is in a frame that raises, since a traceback may show variables.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import warnings
from collections.abc import Callable
from configparser import ConfigParser, Error, InterpolationError
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from ._exceptions import ZuliprcError

_SECTION = "api"
_MOST_BYTES = 64 * 1024
_MOST_REFERENCES = 8
_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^\s:=][^:=]*?)\s*[:=]")


class ZuliprcSection(dict[str, str | None]):
    """What stands in the section `[api]`, or shall; None is for what is not there."""

    def __repr__(self) -> str:
        return f"<values of [{_SECTION}]>"


def resolve_zuliprc_path(path: str | os.PathLike[str] | None) -> Path:
    """Return where the file is: as given, else as ZULIP_CONFIG says, else `~/.zuliprc`.

    Raises:
        ZuliprcError: It is no path, or there is no home directory.
    """
    with suppress(TypeError, RuntimeError):
        return Path(path or os.environ.get("ZULIP_CONFIG") or "~/.zuliprc").expanduser()
    raise ZuliprcError("The path of a zuliprc must be a str or a Path, in a home that exists.")


def read_zuliprc(path: Path, *, missing_ok: bool = False) -> ZuliprcSection:
    """Return what stands in the section `[api]`.

    It warns where others than the file's owner may read it.

    Args:
        path: Where the file is.
        missing_ok: Whether a file that is not there counts as empty.

    Raises:
        ZuliprcError: There is no such file, it cannot be read, or it is no
            zuliprc. The error repeats nothing of it.
    """
    found = _read(path)
    if found.stat is None and missing_ok:
        return ZuliprcSection()
    if found.values is None:
        raise ZuliprcError(f"{path} {found.problem}")
    if os.name == "posix" and found.stat and found.stat.st_mode & 0o077:
        warnings.warn(
            f"Others than the owner of {path} may read it. Take that from them: chmod 600 {path}",
            stacklevel=3,
        )
    return found.values


def update_zuliprc(
    path: Path, decide: Callable[[ZuliprcSection | None], ZuliprcSection | None]
) -> None:
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


def why_not_replaceable(path: Path) -> str | None:
    """Return what, if anything, speaks against putting a file in the place of another."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"cannot be written: {_reason(error)}."
    if stat.S_ISLNK(mode):
        return "is a symbolic link. Give the path that it leads to."
    return None if stat.S_ISREG(mode) else "is no file that could be replaced."


def render_zuliprc(values: ZuliprcSection, old: str = "") -> str | None:
    """Return a file's text with other values, or None where that would change more than them."""
    lines: list[str] = []
    pad: str | None = None  # how far the section's values are indented
    place = None  # where ours go
    inside = dropped = in_value = False
    depth = 0
    for line in old.split("\n"):
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        header, option = _HEADER.match(text), _OPTION.match(text)
        if not text or text[0] in "#;":
            lines.append(line)
            continue
        # By ConfigParser's rule, what is further in goes on with the value before.
        if not (in_value and indent > depth):
            depth, in_value = indent, option is not None and header is None
            if header:
                inside = header[1] == _SECTION
            elif inside and pad is None:
                pad = line[:indent]
            dropped = inside and in_value and option is not None and option[1].lower() in values
        if not dropped:
            lines.append(line)
        if header and inside and place is None:
            place = len(lines)
    if place is None:
        lines.append(f"[{_SECTION}]")
        place = len(lines)
    ours = [f"{pad or ''}{n} = {v.replace('%', '%%')}" for n, v in values.items() if v is not None]
    lines[place:place] = ours
    new = "\n".join(lines).strip("\n") + "\n"
    return new if _is_changed_as_meant(old, new, values) else None


def _is_changed_as_meant(old: str, new: str, values: ZuliprcSection) -> bool:
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


@frozen
class _Found:
    """What was found at a path; no value, and no text, is in its repr.

    Attributes:
        stat: What the system says of the file; None where there is none.
        values: What its section `[api]` holds; None where it has none.
        text: What stands in it, as far as that can be kept.
        problem: What is wrong with it.
        is_free: Whether the section could be added to what is there.
    """

    stat: os.stat_result | None = None
    values: ZuliprcSection | None = None
    text: str = field(default="", repr=False)
    problem: str = ""
    is_free: bool = False


def _read(path: Path) -> _Found:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        return _Found(problem=f"cannot be read: {_reason(error)}.", is_free=True)
    except (OSError, ValueError) as error:
        # Where not even that is known, there is something.
        return _Found(os.stat_result([0] * 10), problem=f"cannot be read: {_reason(error)}.")
    if len(data) > _MOST_BYTES:
        return _Found(status, problem="is no zuliprc: it is too long.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _Found(status, problem="is no zuliprc: it is not written in UTF-8.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parser = _parse(text)
    if parser is None or not parser.has_section(_SECTION):
        return _Found(
            status,
            text="" if parser is None else text,
            is_free=parser is not None,
            problem=f"is no zuliprc: that has a section [{_SECTION}], with a name and a value on "
            "each line. `zulip-auth login` writes one.",
        )
    return _Found(status, _values_of(parser), text)


def _parse(text: str) -> ConfigParser | None:
    parser = ConfigParser()
    try:
        parser.read_string(text)
    except Error:  # which repeats the line
        return None
    return parser


def _values_of(parser: ConfigParser) -> ZuliprcSection:
    section = parser[_SECTION]
    raw = {name: section.get(name, raw=True) for name in section}
    # A few references, one within the other, could stand for gigabytes.
    if "".join(map(str, raw.values())).count("%(") > _MOST_REFERENCES:
        return ZuliprcSection(raw)
    return ZuliprcSection({name: _value(parser, name) for name in raw})


def _value(parser: ConfigParser, name: str) -> str:
    # Zulip's own client wants a % written twice; other tools write what they have.
    try:
        return parser.get(_SECTION, name)
    except InterpolationError:
        return parser.get(_SECTION, name, raw=True)


def _rewrite(
    path: Path, decide: Callable[[ZuliprcSection | None], ZuliprcSection | None]
) -> str | None:
    """Write a file anew, or return what speaks against it."""
    problem = why_not_replaceable(path)
    if problem is not None:
        return problem
    found = _read(path)
    values = decide(ZuliprcSection() if found.is_free else found.values)
    if values is None:
        return "holds something else than this account. Overwrite it, or save elsewhere."
    text = render_zuliprc(values, found.text)
    if text is None:
        return "cannot hold this, or cannot be changed safely. Save elsewhere."
    try:
        return _replace(path, text, found.stat)
    except (OSError, ValueError) as error:
        return f"cannot be written: {_reason(error)}."


def _replace(path: Path, text: str, before: os.stat_result | None) -> str | None:
    """Put a file in another's place, at once and for good, if that is still the same one."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        if not _is_unchanged(path, before):
            return "was written by another program meanwhile. Try again."
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    with suppress(OSError):  # where directories cannot be opened, as on Windows
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return None


def _is_unchanged(path: Path, before: os.stat_result | None) -> bool:
    """Tell whether a file is still the one that was read, in the place where it was."""
    try:
        now = path.lstat()
    except FileNotFoundError:
        return before is None
    return before is not None and (now.st_ino, now.st_mtime_ns, now.st_size) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_size,
    )


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "that is no path"
