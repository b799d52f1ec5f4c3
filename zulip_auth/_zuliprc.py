"""Parse, edit and atomically replace the zuliprc, the file that Zulip's tools share.

`_credentials.py` interprets the values.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from configparser import ConfigParser, Error, InterpolationError
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TextIO

from ._exceptions import NotLoggedInError, ZuliprcError
from ._redaction import hide_locals

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SECTION = "api"
_MAX_BYTES = 64 * 1024
_MAX_INTERPOLATIONS = 8
_SECTION_RE = re.compile(r"\[(.+)\]")
_OPTION_RE = re.compile(r"([^\s:=][^:=]*)[:=]")


class ZuliprcSection(dict[str, str | None]):
    """A section; None marks a missing or removed option."""

    def __repr__(self) -> str:
        return "<ZuliprcSection>"


class _Parser(ConfigParser):
    # ConfigParser's own pattern takes quadratic time for spaces within a line.
    OPTCRE = re.compile(r"(?P<option>[^:=]*)(?P<vi>[:=])\s*(?P<value>.*)$")


def resolve_zuliprc_path(path: str | os.PathLike[str] | None) -> Path:
    """Return *path*, or else that of ZULIP_CONFIG, or else `~/.zuliprc`.

    Raises:
        ZuliprcError: If it is not a path, or there is no home directory.
    """
    with suppress(TypeError, RuntimeError):
        return Path(path or os.environ.get("ZULIP_CONFIG") or "~/.zuliprc").expanduser()
    raise ZuliprcError("Invalid zuliprc path, or no home directory.")


@hide_locals
def read_zuliprc(path: Path, *, section: str = SECTION, missing_ok: bool = False) -> ZuliprcSection:
    """Return a section of a zuliprc.

    It warns if the file is the reader's own and others may access it, and if
    certificates should not be verified (`insecure`), which is ignored.

    Args:
        path: The file.
        section: The section.
        missing_ok: Whether a missing file or section counts as empty.

    Raises:
        NotLoggedInError: If there is no such file or section.
        ZuliprcError: If the file cannot be read or is not a zuliprc. The
            message repeats nothing of its content.
    """
    try:
        text, status = _read(path)
        values = _get_section(_parse(text, path), section)
        if not values and not missing_ok:
            raise NotLoggedInError(f"No section [{section}] in {path}. Run `zulip-auth login`.")
    except NotLoggedInError:
        if missing_ok:
            return ZuliprcSection()
        raise
    # hide_locals and Credentials.load are between this and the caller.
    is_own = hasattr(os, "geteuid") and status.st_uid == os.geteuid()  # not on Windows
    if is_own and status.st_mode & 0o077:
        warnings.warn(f"{path} is readable by other users. Run: chmod 600 {path}", stacklevel=5)
    if (values.get("insecure") or "false").lower() != "false":
        warnings.warn(f"insecure in {path} is ignored; use cert_bundle.", stacklevel=5)
    return values


@hide_locals
def update_zuliprc(path: Path, update: Callable[[ZuliprcSection | None], ZuliprcSection]) -> None:
    """Atomically update the `[api]` section.

    Other sections, options and comments are preserved. Concurrent writers wait
    for each other.

    Args:
        path: The file; it need not exist.
        update: Called with the existing section, or with None if the file is
            not a zuliprc. Returns the options to set; None removes one.

    Raises:
        ZuliprcError: If *update* raises it, or the file cannot be updated. The
            file is left unchanged.
    """
    with _write_errors(path), _locked_tmp_file(path) as (file, tmp_path):
        previous = _lstat(path)
        text = ""
        existing: ZuliprcSection | None = ZuliprcSection()
        try:
            text = _read(path)[0]
            existing = _get_section(_parse(text, path))
        except NotLoggedInError:
            pass
        except ZuliprcError:
            text, existing = "", None
        section = update(existing)
        new_text = render_zuliprc(section, text)
        if not _is_lossless_edit(text, new_text, section):
            raise ZuliprcError(f"{path} cannot be updated safely. Use another path.")
        file.write(new_text)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "fchown") and previous and previous.st_uid != os.geteuid():
            os.fchown(file.fileno(), previous.st_uid, previous.st_gid)
        if _version(previous) != _version(_lstat(path)):
            raise ZuliprcError(f"{path} was changed by another program. Try again.")
        _close_on_windows(file)
        tmp_path.replace(path)
    with suppress(OSError):  # some file systems cannot sync directories
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@hide_locals
def check_replaceable(path: Path) -> None:
    """Check that a zuliprc can be saved, before a login.

    Raises:
        ZuliprcError: If the file is a symbolic link, not a regular file, a
            mount point or another user's, or its directory is not writable.
    """
    with _write_errors(path), _locked_tmp_file(path):
        pass


def render_zuliprc(section: ZuliprcSection, old: str = "") -> str:
    """Return the text of a zuliprc, *old* with other options in the `[api]` section."""
    lines: list[str] = []
    indent: str | None = None  # of the section's options
    insert_at = None
    in_section = skip = False
    option_indent = inf  # of the last option; infinite after a header
    for line in old.split("\n"):
        text = line.strip()
        width = len(line) - len(line.lstrip())
        header, option = _SECTION_RE.match(text), _OPTION_RE.match(text)
        if not text or text[0] in "#;":
            lines.append(line)
            continue
        # ConfigParser treats deeper-indented lines as continuations.
        if width <= option_indent:
            name = option[1].rstrip().lower() if option and not header else None
            option_indent = inf if name is None else width
            if header:
                in_section = header[1] == SECTION
            elif in_section and indent is None:
                indent = line[:width]
            skip = in_section and name in section
        if not skip:
            lines.append(line)
        if header and in_section and insert_at is None:
            insert_at = len(lines)
    if insert_at is None:
        lines.append(f"[{SECTION}]")
        insert_at = len(lines)
    lines[insert_at:insert_at] = [
        f"{indent or ''}{name} = {value.replace('%', '%%')}"
        for name, value in section.items()
        if value is not None
    ]
    return "\n".join(lines).strip("\n") + "\n"


def _is_lossless_edit(old: str, new: str, section: ZuliprcSection) -> bool:
    """Return whether *new* has all of *old* and the options of *section*."""
    try:
        before, after = _parse(old), _parse(new)
    except ZuliprcError:
        return False
    expected = {name: dict(before.items(name, raw=True)) for name in before.sections()}
    actual = {name: dict(after.items(name, raw=True)) for name in after.sections()}
    expected.setdefault(SECTION, {})
    for name in section:
        expected[SECTION].pop(name, None)
        actual[SECTION].pop(name, None)
    values = _get_section(after)
    return expected == actual and all(values.get(name) == section[name] for name in section)


def _read(path: Path) -> tuple[str, os.stat_result]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotLoggedInError(f"{path} does not exist. Run `zulip-auth login`.") from None
    except (OSError, ValueError) as exc:
        raise ZuliprcError(f"Could not read {path}: {_strerror(exc)}.") from None
    if len(data) > _MAX_BYTES:
        raise ZuliprcError(f"{path} is not a zuliprc: larger than {_MAX_BYTES // 1024} KiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ZuliprcError(f"{path} is not a zuliprc: not valid UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n"), status


def _parse(text: str, path: Path | None = None) -> ConfigParser:
    parser = _Parser()
    try:
        parser.read_string(text)
    except Error:
        raise ZuliprcError(
            f"{path} is not a zuliprc: expected an [{SECTION}] section with `name = value` "
            "lines. Run `zulip-auth login` to create one."
        ) from None
    return parser


def _get_section(parser: ConfigParser, name: str = SECTION) -> ZuliprcSection:
    """Return a section, which is empty if it is missing."""
    options = dict(parser.items(name, raw=True)) if parser.has_section(name) else {}
    # A few nested references could expand to gigabytes.
    if "".join(options.values()).count("%(") > _MAX_INTERPOLATIONS:
        return ZuliprcSection(options)
    return ZuliprcSection({option: _get_value(parser, name, option) for option in options})


def _get_value(parser: ConfigParser, section: str, option: str) -> str:
    # Zulip's own client requires %% for %; other tools write %.
    try:
        return parser.get(section, option)
    except InterpolationError:
        return parser.get(section, option, raw=True)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        raise ZuliprcError(f"Could not write {path}: {_strerror(exc)}.") from None


@contextmanager
def _locked_tmp_file(path: Path) -> Iterator[tuple[TextIO, Path]]:
    """Create the temporary file of *path*, which also locks out other writers.

    It is removed in the end, unless it was renamed. A file that a killed
    process left is removed first.
    """
    _check_target(path)
    tmp_path = path.with_name(f".{path.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        try:
            fd, is_new = os.open(tmp_path, flags | os.O_EXCL, 0o600), True
        except FileExistsError:
            fd, is_new = os.open(tmp_path, flags, 0o600), False
        with open(fd, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                # Another writer may have removed it before the lock was acquired.
                if is_new and _is_at(fd, tmp_path):
                    yield file, tmp_path
                    return
            finally:
                if not file.closed and _is_at(fd, tmp_path):
                    _close_on_windows(file)
                    tmp_path.unlink()
                if fcntl is not None:
                    fcntl.flock(fd, fcntl.LOCK_UN)  # closing leaves it to forked processes


def _close_on_windows(file: TextIO) -> None:
    # An open file cannot be renamed or removed there. Elsewhere, it has the lock.
    if fcntl is None:
        file.close()


def _is_at(fd: int, path: Path) -> bool:
    status = _lstat(path)
    return status is not None and os.path.samestat(os.fstat(fd), status)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _check_target(path: Path) -> None:
    status = _lstat(path)
    if status is None:
        return
    if stat.S_ISLNK(status.st_mode):
        raise ZuliprcError(f"{path} is a symbolic link. Use the path of its target.")
    if not stat.S_ISREG(status.st_mode):
        raise ZuliprcError(f"{path} is not a regular file.")
    if _is_mount_point(path):
        raise ZuliprcError(f"{path} is a mount point. Mount its directory instead.")
    path.chmod(stat.S_IMODE(status.st_mode))  # fails for immutable files and those of other users


def _is_mount_point(path: Path) -> bool:
    """Return whether the file itself is mounted, as in containers, and so cannot be replaced."""
    mounts = b""
    with suppress(OSError):  # only Linux has it
        mounts = Path("/proc/self/mountinfo").read_bytes()
    fields = [line.split()[4] for line in mounts.splitlines()]
    paths = {field.decode("unicode_escape").encode("latin-1") for field in fields}
    return os.fsencode(path.resolve()) in paths


def _version(status: os.stat_result | None) -> tuple[int, ...] | None:
    return status and (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _strerror(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or "invalid path"
