"""Parse, edit and atomically replace the zuliprc, the file that Zulip's tools share.

`_credentials.py` interprets the values.
"""

from __future__ import annotations

import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from configparser import (
    ConfigParser,
    DuplicateOptionError,
    DuplicateSectionError,
    Error,
    InterpolationError,
)
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import BinaryIO, Self

from ._exceptions import NotLoggedInError, ZuliprcError
from ._redaction import hide_locals

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SECTION = "api"
LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that writes the file."""

_LOCK_INTERVAL = 0.02  # seconds
_OPTIONS = ("email", "key", "site", "user_id", "cert_bundle", "client_cert", "client_cert_key")
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
def read_zuliprc(
    path: Path, *, section: str = SECTION, missing_ok: bool = False, stacklevel: int = 5
) -> ZuliprcSection:
    """Return a section of a zuliprc.

    It warns if the file is the reader's own and others may access it, and if
    certificates should not be verified (`insecure`), which is ignored.

    Args:
        path: The file.
        section: The section.
        missing_ok: Whether a missing file or section counts as empty.
        stacklevel: The number of frames to the caller that a warning names.

    Raises:
        NotLoggedInError: If there is no such file or section.
        ZuliprcError: If the file cannot be read or is not a zuliprc. The
            message repeats nothing of its content.
    """
    try:
        text, status = _read(path)
        parser = _parse(text, path)
        values = _get_section(parser, section)
        for other in parser.sections() if not values else ():
            if other != section and other.lower() == section.lower():
                raise ZuliprcError(f"Section [{other}] in {path} must be named [{section}].")
        if not values and not missing_ok:
            raise NotLoggedInError(f"No section [{section}] in {path}. Run `zulip-auth login`.")
    except NotLoggedInError:
        if missing_ok:
            return ZuliprcSection()
        raise
    # A group may be meant.
    is_own = hasattr(os, "geteuid") and status.st_uid == os.geteuid()  # not on Windows
    if is_own and status.st_mode & 0o007:
        warnings.warn(
            f"{path} is readable by other users. Run: chmod 600 {path}", stacklevel=stacklevel
        )
    if (values.get("insecure") or "false").lower() != "false":
        warnings.warn(f"insecure in {path} is ignored; use cert_bundle.", stacklevel=stacklevel)
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
    tmp_name = f".{path.name}.tmp"
    with (
        _os_errors(f"write {path}"),
        _Directory(path) as directory,
        directory.lock(tmp_name) as file,
        directory.target() as target,
    ):
        text = ""
        existing: ZuliprcSection | None = ZuliprcSection()
        previous = None if target is None else os.fstat(target.fileno())
        try:
            if target is not None:
                text = _decode(target.read(_MAX_BYTES + 1), path)
                existing = _get_section(_parse(text, path), section)
        except ZuliprcError:
            text, existing = "", None
        options = update(existing)
        new_text = render_zuliprc(options, text, section=section)
        if not _is_lossless_edit(text, new_text, options, section):
            raise ZuliprcError(f"{path} cannot be updated safely. Use another path.")
        file.write(new_text.encode())
        file.flush()
        os.fsync(file.fileno())
        if previous is not None:
            _copy_access(previous, file.fileno())
        if _version(previous) != _version(directory.stat(path.name)):
            raise ZuliprcError(f"{path} was changed by another program. Try again.")
        if target is not None:
            _close_on_windows(target)
        _close_on_windows(file)
        directory.replace(tmp_name, path.name)


@hide_locals
def check_replaceable(path: Path) -> None:
    """Check that a zuliprc can be saved, before a login.

    Raises:
        ZuliprcError: If the file is a symbolic link, not a regular file, a
            mount point or another user's, or its directory is not writable.
    """
    with (
        _os_errors(f"write {path}"),
        _Directory(path) as directory,
        directory.lock(f".{path.name}.tmp"),
        directory.target(),
    ):
        pass


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
        with _os_errors(f"lock {path}"):
            directory = stack.enter_context(_Directory(path))
            stack.enter_context(directory.lock(f".{path.name}.lock", timeout))
        yield


def render_zuliprc(options: ZuliprcSection, old: str = "", *, section: str = SECTION) -> str:
    """Return the text of a zuliprc, *old* with other options in a section."""
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
                in_section = header[1] == section
            elif in_section and indent is None:
                indent = line[:width]
            skip = in_section and name in options
        if not skip:
            lines.append(line)
        if header and in_section and insert_at is None:
            insert_at = len(lines)
    if insert_at is None:
        lines.append(f"[{section}]")
        insert_at = len(lines)
    lines[insert_at:insert_at] = [
        f"{indent or ''}{name} = {value.replace('%', '%%')}"
        for name, value in options.items()
        if value is not None
    ]
    return "\n".join(lines).strip("\n") + "\n"


def _is_lossless_edit(old: str, new: str, options: ZuliprcSection, section: str) -> bool:
    """Return whether *new* has all of *old* and the options of *section*."""
    try:
        before, after = _parse(old), _parse(new)
    except ZuliprcError:
        return False
    expected = {name: dict(before.items(name, raw=True)) for name in before.sections()}
    actual = {name: dict(after.items(name, raw=True)) for name in after.sections()}
    expected.setdefault(section, {})
    for name in options:
        expected[section].pop(name, None)
        actual[section].pop(name, None)
    values = _get_section(after, section)
    return expected == actual and all(values.get(name) == options[name] for name in options)


def _read(path: Path) -> tuple[str, os.stat_result]:
    try:
        with path.open("rb") as file:
            return _decode(file.read(_MAX_BYTES + 1), path), os.fstat(file.fileno())
    except FileNotFoundError:
        raise NotLoggedInError(f"{path} does not exist. Run `zulip-auth login`.") from None
    except (OSError, ValueError) as exc:
        raise ZuliprcError(f"Could not read {path}: {_strerror(exc)}.") from None


def _decode(data: bytes, path: Path) -> str:
    if len(data) > _MAX_BYTES:
        raise ZuliprcError(f"{path} is not a zuliprc: larger than {_MAX_BYTES // 1024} KiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ZuliprcError(f"{path} is not a zuliprc: not valid UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse(text: str, path: Path | None = None) -> ConfigParser:
    parser = _Parser()
    reason = ""
    try:
        parser.read_string(text)
    except DuplicateSectionError:
        reason = "it has two sections of the same name"
    except DuplicateOptionError as exc:
        option = exc.option if exc.option in _OPTIONS else "an option"
        reason = f"it has {option} twice in one section"
    except Error:
        reason = (
            f"expected an [{SECTION}] section with `name = value` lines. "
            "Run `zulip-auth login` to create one"
        )
    if reason:
        raise ZuliprcError(f"{path} is not a zuliprc: {reason}.")
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
def _os_errors(action: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        raise ZuliprcError(f"Could not {action}: {_strerror(exc)}.") from None


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

    def _open(self, name: str, flags: int, mode: str) -> BinaryIO:
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return open(os.open(self._at(name), flags, 0o600, dir_fd=self._fd), mode)  # type: ignore[return-value]  # noqa: PTH123

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of a file, or None if there is none."""
        try:
            return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace(self, name: str, target: str) -> None:
        """Rename a file, replacing another one."""
        source, destination = self._at(name), self._at(target)
        os.replace(source, destination, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        with suppress(OSError):  # some file systems cannot sync directories
            if self._fd is not None:
                os.fsync(self._fd)

    @contextmanager
    def target(self) -> Iterator[BinaryIO | None]:
        """Open the zuliprc, if there is one, and check that it may be replaced."""
        path = self._path
        status = self.stat(path.name)
        if status is None:
            yield None
            return
        if stat.S_ISLNK(status.st_mode):
            raise ZuliprcError(f"{path} is a symbolic link. Use the path of its target.")
        if not stat.S_ISREG(status.st_mode):
            raise ZuliprcError(f"{path} is not a regular file.")
        if _is_mount_point(path):
            raise ZuliprcError(f"{path} is a mount point. Mount its directory instead.")
        with self._open(path.name, os.O_RDONLY, "rb") as file:
            if hasattr(os, "fchmod"):  # fails for immutable files and those of other users
                os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            yield file

    @contextmanager
    def lock(self, name: str, timeout: float = LOCK_TIMEOUT) -> Iterator[BinaryIO]:
        """Create a file that locks out other processes.

        It is removed in the end, unless it was renamed. A file that a killed
        process left is removed first.
        """
        deadline, pid = time.monotonic() + timeout, os.getpid()
        while True:
            is_new, flags = True, os.O_WRONLY | os.O_CREAT
            try:
                file = self._open(name, flags | os.O_EXCL, "wb")
            except FileExistsError:
                is_new, file = False, self._open(name, flags, "wb")
            with file:
                try:
                    is_locked = _flock(file, deadline)
                except OSError:
                    if is_new:
                        self._remove(file, name)
                    raise
                if not is_locked:
                    raise ZuliprcError(
                        f"Could not lock {self._path}: another process has locked "
                        f"{self._path.with_name(name)} for {timeout:g} s."
                    )
                # Another process may have removed it before it was locked.
                if not (is_new and self._is_at(file, name)):
                    self._remove(file, name)
                    continue
                try:
                    yield file
                    return
                finally:
                    if not file.closed and os.getpid() == pid:  # not in a forked process
                        with suppress(OSError):  # the next process removes it
                            self._remove(file, name)
                        if fcntl is not None:  # closing leaves the lock to forked processes
                            fcntl.flock(file, fcntl.LOCK_UN)

    def _is_at(self, file: BinaryIO, name: str) -> bool:
        status = self.stat(name)
        return status is not None and os.path.samestat(os.fstat(file.fileno()), status)

    def _remove(self, file: BinaryIO, name: str) -> None:
        if self._is_at(file, name):
            _close_on_windows(file)
            os.unlink(self._at(name), dir_fd=self._fd)


def _flock(file: BinaryIO, deadline: float) -> bool:
    """Lock a file, and return whether that was possible before the deadline."""
    while fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_INTERVAL)
        else:
            break
    return True


def _copy_access(status: os.stat_result, fd: int) -> None:
    """Give a file the owner, the group and the mode of another one.

    A mode with access for all users becomes 600.
    """
    if not hasattr(os, "fchown"):  # Windows
        return
    current = os.fstat(fd)
    has_group = status.st_mode & 0o070
    if status.st_uid != current.st_uid or (has_group and status.st_gid != current.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, 0o600 if status.st_mode & 0o007 else stat.S_IMODE(status.st_mode))


def _close_on_windows(file: BinaryIO) -> None:
    # An open file cannot be renamed or removed there. Elsewhere, it has the lock.
    if fcntl is None:
        file.close()


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
