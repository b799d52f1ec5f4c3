"""Parse, edit and atomically replace the zuliprc, the file that Zulip's tools share.

`_credentials.py` interprets the values.
"""

from __future__ import annotations

import configparser
import errno
import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self, TextIO

from ._exceptions import NotLoggedInError, ZuliprcError
from ._redaction import hide_locals

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SECTION = "api"
_LOCK_TIMEOUT = 30.0  # seconds, for another process that writes the file
_LOCK_INTERVAL = 0.02  # seconds
_ERRORS = "surrogateescape"  # bytes of other encodings stay as they are


class ZuliprcSection(dict[str, str | None]):
    """A section; None marks a missing or removed option."""

    def __repr__(self) -> str:
        return "<ZuliprcSection>"


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
    """Return a section of a zuliprc, which is empty if the file has none of that name.

    It warns if the file is the reader's own and others may access it.

    Args:
        path: The file.
        section: The section.
        missing_ok: Whether a missing file counts as empty.

    Raises:
        NotLoggedInError: If there is no such file.
        ZuliprcError: If the file cannot be read or is not a zuliprc. The
            message repeats nothing of its content.
    """
    with os_errors(f"read {path}"):
        try:
            file = path.open(encoding="utf-8-sig", errors=_ERRORS)
        except FileNotFoundError:
            if missing_ok:
                return ZuliprcSection()
            raise NotLoggedInError(f"{path} does not exist. Run `zulip-auth login`.") from None
        with file:
            text, status = file.read(), os.fstat(file.fileno())
    parser = _parse(text, path)
    values = _get_section(parser, section)
    similar = [title for title in parser.sections() if title.lower() == section.lower()]
    if similar and section not in similar:
        raise ZuliprcError(f"Section [{similar[0]}] in {path} must be named [{section}].")
    # A group may be meant.
    is_own = hasattr(os, "geteuid") and status.st_uid == os.geteuid()  # not on Windows
    if is_own and status.st_mode & 0o007:
        message = f"{path} is readable by other users. Run: chmod 600 {path}"
        warnings.warn(message, stacklevel=6)  # the caller of `load` or `from_env`
    return values


@hide_locals
def update_zuliprc(
    path: Path,
    update: Callable[[ZuliprcSection | None], ZuliprcSection],
    *,
    section: str = SECTION,
) -> None:
    """Atomically update a section.

    Other sections, options and comments are preserved, and so are the owner,
    the group and the mode of the file. Concurrent writers wait for each other.

    Args:
        path: The file; it need not exist.
        update: Called with the existing section, or with None if the file is
            not a zuliprc. Returns the options to set; None removes one.
        section: The section.

    Raises:
        ZuliprcError: If *update* raises it, or the file cannot be updated. The
            file is left unchanged.
    """
    with os_errors(f"write {path}"), _Directory(path) as directory, directory.lock(".tmp.lock"):
        text, status = directory.read()
        try:
            existing: ZuliprcSection | None = _get_section(_parse(text, path), section)
        except ZuliprcError:
            text, existing = "", None
        options = update(existing)
        new_text = render_zuliprc(options, text, section=section)
        if not _is_lossless_edit(text, new_text, options, section):
            raise ZuliprcError(f"{path} cannot be updated safely. Use another path.")
        directory.replace(new_text, status)


@hide_locals
def check_replaceable(path: Path) -> None:
    """Check that a zuliprc can be saved, before a login.

    Raises:
        ZuliprcError: If the file is a symbolic link, not a regular file, a
            mount point or another user's, or its directory is not writable.
    """
    with os_errors(f"write {path}"), _Directory(path) as directory, directory.lock(".tmp.lock"):
        directory.read()


@contextmanager
def lock_zuliprc(path: Path, timeout: float) -> Iterator[None]:
    """Keep other processes from logging in for the same file, once they have finished.

    Args:
        path: The file; it need not exist.
        timeout: Seconds to wait for them.

    Raises:
        ZuliprcError: If the lock cannot be acquired in time.
    """
    with ExitStack() as stack:
        with os_errors(f"lock {path}"):
            directory = stack.enter_context(_Directory(path))
            stack.enter_context(directory.lock(".lock", timeout))
        yield


def render_zuliprc(options: ZuliprcSection, old: str = "", *, section: str = SECTION) -> str:
    """Return the text of a zuliprc, *old* with other options in a section."""
    header_pattern = rf"(?m)^([ \t]*\[{re.escape(section)}\].*\n)"
    before, *rest = re.split(header_pattern, f"{old}\n", maxsplit=1)
    header, body = rest or (f"[{section}]\n", "")
    body, *following = re.split(r"(?m)^(?=[ \t]*\[)", body, maxsplit=1)
    indent = re.search(r"(?m)^([ \t]*)[^\s#;]", body)  # of the first option
    for name in options:
        # Lines that are indented more continue a value.
        option = rf"(?mi)^([ \t]*){re.escape(name)}[ \t]*[:=].*\n(?:\1[ \t]+[^\s#;].*\n)*"
        body = re.sub(option, "", body)
    added = [
        f"{indent[1] if indent else ''}{name} = {value.replace('%', '%%')}\n"
        for name, value in options.items()
        if value is not None
    ]
    return "".join([before, header, *added, body, *following]).strip("\n") + "\n"


def _is_lossless_edit(old: str, new: str, options: ZuliprcSection, section: str) -> bool:
    """Return whether *new* has all of *old* and the options of *section*."""

    def others(parser: ConfigParser) -> object:
        return [(t, parser.items(t, raw=True)) for t in parser.sections() if t != section]

    with suppress(ZuliprcError):
        before, after = _parse(old), _parse(new)
        values = {**_get_section(before, section), **options}
        expected = {name: value for name, value in values.items() if value is not None}
        return _get_section(after, section) == expected and others(before) == others(after)
    return False


def _parse(text: str, path: Path | None = None) -> ConfigParser:
    parser = ConfigParser()
    try:
        parser.read_string(text)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as exc:
        reason = f"line {exc.lineno} repeats a section, or an option of its section"
    except configparser.Error:
        reason = f"expected [{SECTION}] and `name = value` lines"
    else:
        return parser
    raise ZuliprcError(f"{path} is not a zuliprc: {reason}.")


def _get_section(parser: ConfigParser, name: str) -> ZuliprcSection:
    """Return a section, which is empty if it is missing."""
    section = ZuliprcSection()
    for option in parser[name] if parser.has_section(name) else ():
        # Zulip's own client requires %% for %; other tools write %.
        try:
            section[option] = parser.get(name, option)
        except configparser.InterpolationError:
            section[option] = parser.get(name, option, raw=True)
    return section


@contextmanager
def os_errors(action: str) -> Iterator[None]:
    """Raise a ZuliprcError in place of an error of the operating system."""
    try:
        yield
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "invalid path or file"
        if getattr(exc, "errno", None) == errno.ELOOP:  # of O_NOFOLLOW
            reason = "it is a symbolic link; use the path of its target"
        raise ZuliprcError(f"Could not {action}: {reason}.") from None


class _Directory:
    """The directory of a zuliprc, opened once.

    Its files are opened by their names in it and without following links, and
    are checked and changed through their descriptors: others who can write to
    the directory cannot swap in another file between two calls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None  # Windows opens no directories

    def __enter__(self) -> Self:
        if os.open in os.supports_dir_fd:
            self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def _at(self, name: str) -> str:
        return name if self._fd is not None else str(self._path.with_name(name))

    def _open(self, name: str, mode: str) -> TextIO:
        def opener(name: str, flags: int) -> int:
            flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            return os.open(name, flags, 0o600, dir_fd=self._fd)

        encoding = "utf-8-sig" if mode == "r" else "utf-8"
        return open(self._at(name), mode, encoding=encoding, errors=_ERRORS, opener=opener)  # type: ignore[return-value]

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(self._at(name), dir_fd=self._fd)

    def read(self) -> tuple[str, os.stat_result | None]:
        """Return the text and the status of the zuliprc, and check that it may be replaced."""
        path = self._path
        try:
            with self._open(path.name, "r") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ZuliprcError(f"{path} is not a regular file.")
                if _is_mount_point(path):
                    raise ZuliprcError(f"{path} is a mount point. Mount its directory instead.")
                if hasattr(os, "fchmod"):  # fails for immutable files and those of other users
                    os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
                return file.read(), status
        except FileNotFoundError:
            return "", None

    def replace(self, text: str, status: os.stat_result | None) -> None:
        """Replace the zuliprc atomically.

        Args:
            text: The new content.
            status: The status of the old file, whose owner, group and mode the
                new one gets. A mode with access for all users becomes 600.
        """
        name = f".{self._path.name}.tmp"
        self._remove(name)  # a killed process may have left it
        try:
            with self._open(name, "x") as file:
                file.write(text)
                if status is not None and hasattr(os, "fchown"):  # not on Windows
                    _copy_access(status, file.fileno())
                file.flush()
                os.fsync(file.fileno())
            source, target = self._at(name), self._at(self._path.name)
            os.replace(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            with suppress(OSError):  # some file systems cannot sync directories
                if self._fd is not None:
                    os.fsync(self._fd)  # else a power failure can bring back a revoked key
        finally:
            self._remove(name)

    @contextmanager
    def lock(self, suffix: str, timeout: float = _LOCK_TIMEOUT) -> Iterator[None]:
        """Lock out other processes with a file, which is removed in the end."""
        if fcntl is None:
            yield
            return
        name, pid = f".{self._path.name}{suffix}", os.getpid()
        deadline = time.monotonic() + timeout
        while True:
            with self._open(name, "a") as file:
                is_locked = False
                # Another process may have locked it, or removed it since it was opened.
                with suppress(BlockingIOError, FileNotFoundError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    status = os.stat(name, dir_fd=self._fd)
                    is_locked = os.path.samestat(os.fstat(file.fileno()), status)
                if is_locked:
                    try:
                        yield
                        return
                    finally:
                        # A forked process has a copy of the locked file, and of this frame.
                        if os.getpid() == pid:
                            self._remove(name)
            if time.monotonic() >= deadline:
                raise ZuliprcError(
                    f"Could not lock {self._path}: another process has locked "
                    f"{self._path.with_name(name)} for {timeout:g} s."
                )
            time.sleep(_LOCK_INTERVAL)


def _copy_access(status: os.stat_result, fd: int) -> None:
    new = os.fstat(fd)
    # Only if necessary, since sandboxes forbid it. A group without access does not matter.
    has_group = status.st_mode & 0o070
    if status.st_uid != new.st_uid or (has_group and status.st_gid != new.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, 0o600 if status.st_mode & 0o007 else stat.S_IMODE(status.st_mode))


def _is_mount_point(path: Path) -> bool:
    """Return whether the file itself is mounted, as in containers, and so cannot be replaced."""
    mounts = b""
    with suppress(OSError):  # only Linux has it
        mounts = Path("/proc/self/mountinfo").read_bytes()
    fields = [line.split()[4] for line in mounts.splitlines()]
    paths = {field.decode("unicode_escape").encode("latin-1") for field in fields}
    return os.fsencode(path.resolve()) in paths
