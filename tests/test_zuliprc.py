from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import error_message
from zulip_auth import NotLoggedInError, ZuliprcError, _zuliprc
from zulip_auth._zuliprc import (
    ZuliprcSection,
    _copy_access,
    check_replaceable,
    read_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
)

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
LINES = f"[api]\nemail=iago@zulip.com\nkey={KEY}\nsite=https://chat.example.com\n"

requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def zuliprc_error(call: Any, *args: Any, exc_type: type[ZuliprcError] = ZuliprcError) -> str:
    """Return the message of the exception, which must not repeat the file's content."""
    return error_message(lambda: call(*args), exc_type, secrets=(KEY, "s3cret-line"))


def constant(**values: str | None) -> Any:
    """Return an update that sets the same values in any file."""
    return lambda _existing: ZuliprcSection(values)


def test_resolve_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/iago")
    monkeypatch.delenv("ZULIP_CONFIG", raising=False)
    assert resolve_zuliprc_path(None) == Path("/home/iago/.zuliprc")
    monkeypatch.setenv("ZULIP_CONFIG", "~/bot/zuliprc")
    assert resolve_zuliprc_path(None) == Path("/home/iago/bot/zuliprc")
    assert resolve_zuliprc_path(Path("~/x")) == Path("/home/iago/x")
    invalid: list[Any] = [7, "~unknown-user/zuliprc"]
    for value in invalid:
        message = zuliprc_error(resolve_zuliprc_path, value)
        assert message == "Invalid zuliprc path, or no home directory."


# ---- Reading; test_credentials.py has the files that others write

FORM = "expected [api] and `name = value` lines"
REPEATED = "repeats a section, or an option of its section"
INVALID: dict[str, tuple[str | bytes, str]] = {
    "no section": (LINES.removeprefix("[api]\n"), FORM),
    "a line that is none": (LINES + "s3cret-line\n", FORM),
    "JSON": ('{"key": "s3cret-line"}', FORM),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(range(256)), FORM),
    "the section twice": (LINES + LINES, f"line 5 {REPEATED}"),
    "a value twice": (LINES + f"key={KEY}\n", f"line 5 {REPEATED}"),
}


@pytest.mark.parametrize(("content", "reason"), INVALID.values(), ids=INVALID)
def test_invalid_content(path: Path, content: str | bytes, reason: str) -> None:
    write(path, content)
    assert zuliprc_error(read_zuliprc, path) == f"{path} is not a zuliprc: {reason}."
    sections: list[ZuliprcSection | None] = []

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        sections.append(existing)
        return ZuliprcSection(key=KEY)

    update_zuliprc(path, update)
    assert sections == [None]
    assert path.read_text() == f"[api]\nkey = {KEY}\n"


def test_unreadable_file(path: Path) -> None:
    message = zuliprc_error(read_zuliprc, path, exc_type=NotLoggedInError)
    assert message == f"{path} does not exist. Run `zulip-auth login`."
    assert read_zuliprc(path, missing_ok=True) == {}
    path.touch(0o600)
    below = path / "zuliprc"
    assert zuliprc_error(read_zuliprc, below) == f"Could not read {below}: Not a directory."
    message = zuliprc_error(read_zuliprc, path.parent)
    assert message == f"Could not read {path.parent}: Is a directory."
    long = Path("x" * 5000)
    assert zuliprc_error(read_zuliprc, long) == f"Could not read {long}: File name too long."
    message = zuliprc_error(check_replaceable, Path("a\0b"))
    assert message == "Could not write a\0b: invalid path or file."


def test_section_repr_hides_values() -> None:
    assert repr({"x": ZuliprcSection(key=KEY)}) == "{'x': <ZuliprcSection>}"


# ---- Writing

# The update sets the key, and removes the email.
EDITS = {
    "no file": (None, "[api]\nkey = new\n"),
    "another section": (
        "# mine\n[zterm]\ntheme = dark\n",
        "# mine\n[zterm]\ntheme = dark\n\n[api]\nkey = new\n",
    ),
    "all that is not the account's": (
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        "[api] # mine\n# Made by hand\nEMAIL: old@zulip.com\nkey = old\n  XY\n"
        "color=red\nsite=https://chat.example.com\n\n[more]\nx = X",
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        "[api] # mine\nkey = new\n# Made by hand\n"
        "color=red\nsite=https://chat.example.com\n\n[more]\nx = X\n",
    ),
    "an indented file": (
        "[x]\n\n [api]\n\n  # mine\n  email=a\n    b\n    # mine\n  key=old\n  color=red\n [y]\n",
        "[x]\n\n [api]\n  key = new\n\n  # mine\n    # mine\n  color=red\n [y]\n",
    ),
    "carriage returns": (
        "[api]\r\nkey=old\r\ncolors = red\r\n  blue\r\n",
        "[api]\nkey = new\ncolors = red\n  blue\n",
    ),
    "another encoding": (b"[api]\n# caf\xe9\nkey=old\n", b"[api]\nkey = new\n# caf\xe9\n"),
}


@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
def test_update(path: Path, old: str | bytes | None, new: str | bytes) -> None:
    if old is not None:
        write(path, old)
    check_replaceable(path)
    assert path.exists() == (old is not None)
    update_zuliprc(path, constant(key="new", email=None))
    assert path.read_bytes() == (new if isinstance(new, bytes) else new.encode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert read_zuliprc(path)["key"] == "new"


UNSAFE = {
    "a default": ("[DEFAULT]\nkey=old\n[api]\nemail=iago@zulip.com\n", {"key": None}),
    "a value of two lines": (LINES, {"cert_bundle": "a\nb"}),
    "a value that adds an option": (LINES, {"cert_bundle": "a\nb = c"}),
    "a value that begins a section": (LINES, {"cert_bundle": "a\n[x]"}),
    "a value with spaces around it": (LINES, {"cert_bundle": " a "}),
}


@pytest.mark.parametrize(("content", "values"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_update(path: Path, content: str, values: dict[str, str | None]) -> None:
    write(path, content)
    message = zuliprc_error(update_zuliprc, path, constant(**values))
    assert message == f"{path} cannot be updated safely. Use another path."
    assert path.read_text() == content


PIECES = [
    *("[api]", " [api]", "[x]", "[a=b]", "[api", "# c", " # c", "", "  ", "50%"),
    *("key=a", "key = b", "  key: c", "KEY=d", "email=e", "  more", "\tmore", "color=%(key)s"),
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("\n".join),
    st.dictionaries(
        st.sampled_from(["key", "email"]),
        st.none() | st.sampled_from(["a", "50%", "a = b", "; c", "é", "[x]", "%(key)s"]),
    ),
)
def test_any_update(content: str, values: dict[str, str | None]) -> None:
    """An update changes its options, or nothing."""

    def others(text: str) -> dict[str, Any]:
        parser = ConfigParser(interpolation=None)
        parser.read_string(text)
        sections = {name: dict(parser[name]) for name in parser.sections()}
        api = sections.pop("api", {})
        return sections | {"": {n: value for n, value in api.items() if n not in values}}

    with TemporaryDirectory() as directory:
        path = Path(directory, "zuliprc")
        write(path, content)
        is_empty: list[bool] = []

        def update(existing: ZuliprcSection | None) -> ZuliprcSection:
            is_empty.append(existing is None)
            return ZuliprcSection(values)

        try:
            update_zuliprc(path, update)
        except ZuliprcError:
            assert path.read_text() == content
            return
        new = path.read_text()
    if not is_empty[0]:
        assert others(new) == others(content)
    official = ConfigParser()
    official.read_string(new)
    expected = {name: value for name, value in values.items() if value is not None}
    assert {name: official.get("api", name) for name in expected} == expected
    assert not any(official.has_option("api", name) for name in values.keys() - expected)


# ---- Obstacles, found before a login


def symlink(path: Path) -> str:
    write(path.with_name("target"), LINES)
    path.symlink_to(path.with_name("target"))
    return f"Could not write {path}: it is a symbolic link; use the path of its target."


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return f"{path} is not a regular file."


def directory(path: Path) -> str:
    path.mkdir()
    return f"Could not write {path}: Is a directory."


def missing_parent(path: Path) -> str:
    path.parent.rmdir()
    return f"Could not write {path}: No such file or directory."


def mount_point(path: Path) -> str:
    write(path, LINES)
    return f"{path} is a mount point. Mount its directory instead."


@pytest.mark.parametrize("obstacle", [symlink, fifo, directory, missing_parent, mount_point])
def test_obstacle(
    tmp_path: Path, obstacle: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "é x" / "zuliprc"
    path.parent.mkdir()
    message = obstacle(path)
    if obstacle is mount_point:
        line = b"23 22 8:1 /source %b rw - ext4 /dev/sda1 rw\n"
        name = os.fsencode(path).replace(b" ", rb"\040")
        monkeypatch.setattr(Path, "read_bytes", lambda _: line % b"/" + line % name)
    before = sorted(tmp_path.rglob("*"))
    assert zuliprc_error(check_replaceable, path) == message
    assert zuliprc_error(update_zuliprc, path, constant(key="new")) == message
    assert sorted(tmp_path.rglob("*")) == before


@requires_root
def test_without_privileges() -> None:
    """Neither in a directory nor for a file of another user."""
    with TemporaryDirectory() as name:  # pytest's own is not accessible to others
        Path(name).chmod(0o755)
        for owner, mode in ((65534, 0o755), (0, 0o777)):
            path = Path(name, str(owner), "zuliprc")
            path.parent.mkdir()
            path.parent.chmod(mode)
            write(path, LINES)
            os.chown(path, owner, owner)
            os.seteuid(65534)
            try:
                for call in (check_replaceable, lambda path: update_zuliprc(path, constant())):
                    with pytest.raises(ZuliprcError, match=f"^Could not write {path}: Permission"):
                        call(path)
            finally:
                os.seteuid(0)


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o400, 0o400), (0o644, 0o600)]
)
def test_update_preserves_access(path: Path, before: int, after: int) -> None:
    """A group, as of a service, keeps its access; all other users lose theirs."""
    write(path, LINES, before)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    owner = path.stat()
    update_zuliprc(path, constant(key="new"))
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid)
    assert stat.S_IMODE(status.st_mode) == after
    assert "key = new" in path.read_text()


def test_link_that_is_swapped_in(path: Path) -> None:
    """Others who can write to the directory put a link in place of the file."""
    write(path, LINES)
    secret = path.with_name("shadow")
    write(secret, f"[api]\nkey = {KEY}\n", 0o400)
    before = secret.stat()

    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        path.unlink()
        path.symlink_to(secret)
        return ZuliprcSection(key="new")

    update_zuliprc(path, update)
    after = secret.stat()
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)
    assert "key = new" in path.read_text()
    assert not path.is_symlink()


def test_directory_that_is_swapped_in(tmp_path: Path) -> None:
    """The directory is opened once; a link in its place leads nowhere."""
    directory, other = tmp_path / "home", tmp_path / "etc"
    for folder in (directory, other):
        folder.mkdir()
        write(folder / "zuliprc", LINES)

    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        directory.rename(tmp_path / "moved")
        directory.symlink_to(other)
        return ZuliprcSection(key="new")

    update_zuliprc(directory / "zuliprc", update)
    assert (other / "zuliprc").read_text() == LINES
    assert "key = new" in (tmp_path / "moved" / "zuliprc").read_text()


def test_owner_is_set_only_if_it_differs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox of systemd may end a process that calls chown."""
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, *owner: owners.append(owner))
    write(path, LINES)
    update_zuliprc(path, constant(key="new"))
    assert not owners
    status = path.stat()
    with path.open() as file:
        _copy_access(os.stat_result((*status[:4], 12345, *status[5:10])), file.fileno())
    assert owners == [(12345, status.st_gid)]


def test_update_survives_a_power_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(os, "fsync", lambda fd: modes.append(os.fstat(fd).st_mode))
    update_zuliprc(path, constant(key="new"))
    assert [stat.S_ISDIR(mode) for mode in modes] == [False, True]


def test_update_on_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    write(path, LINES)
    monkeypatch.setattr(os, "fsync", no_space)
    message = zuliprc_error(update_zuliprc, path, constant(key="new"))
    assert message == f"Could not write {path}: No space left on device."
    assert path.read_text() == LINES
    assert list(path.parent.iterdir()) == [path]


def test_without_posix(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no flock, owners, symbolic link flags or descriptors of directories."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        for name in ("fchmod", "fchown", "geteuid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
            patch.delattr(os, name)
        patch.setattr(os, "supports_dir_fd", set())
        spec = importlib.util.spec_from_file_location("zulip_auth._windows", _zuliprc.__file__)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.check_replaceable(path)
        for key in ("a", "b"):
            module.update_zuliprc(path, lambda _, key=key: ZuliprcSection(key=key))
            assert module.read_zuliprc(path) == {"key": key}
    assert list(path.parent.iterdir()) == [path]


# ---- Processes


def run_python(code: str, path: Path) -> str:
    """Run *code* in another process, and return its output."""
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == 0, result.stderr
    return result.stdout


KILL_AT_EACH_LINE = """
import itertools, os, signal, sys
from pathlib import Path
from zulip_auth._zuliprc import ZuliprcSection, _Directory, read_zuliprc, update_zuliprc

path = Path(sys.argv[1])
key = ("old" * 100, "new" * 100)
for line_count in itertools.count(1):
    update_zuliprc(path, lambda _: ZuliprcSection(key=key[0]))
    child = os.fork()
    if child == 0:
        remaining = line_count

        def trace(frame, event, arg):
            global remaining
            if frame.f_code is not _Directory.replace.__code__:
                return None
            remaining -= event == "line"
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        update_zuliprc(path, lambda _: ZuliprcSection(key=key[1]))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.glob("*zuliprc*[!k]"))
    is_temporary = path.with_name(".zuliprc.tmp").exists()
    print("killed" if status else "done", key.index(read_zuliprc(path)["key"]), is_temporary)
    if status == 0:
        break
"""


@pytest.mark.slow
def test_kill_at_each_line(path: Path) -> None:
    *killed, done = run_python(KILL_AT_EACH_LINE, path).splitlines()
    # Before the temporary file, with it, and after the old file was replaced.
    assert sorted(set(killed)) == ["killed 0 False", "killed 0 True", "killed 1 False"]
    assert done == "done 1 False"


WRITE = """
import os, sys
from pathlib import Path
from zulip_auth._zuliprc import ZuliprcSection, update_zuliprc

path = Path(sys.argv[1])

def increment(section):
    return ZuliprcSection(count=str(int(section.get("count", 0)) + 1))

def fork_and_increment(section):
    # Until the end, a child has a copy of the locked descriptor.
    if os.fork() == 0:
        os.close(pipe[1])
        os.read(pipe[0], 1)
        os._exit(0)
    return increment(section)

pipe = os.pipe()
update_zuliprc(path, fork_and_increment)
for _ in range(5):
    if os.fork() == 0:
        for _ in range(20):
            update_zuliprc(path, increment)
        os._exit(0)
statuses = [os.wait()[1] for _ in range(5)]
os.close(pipe[1])
assert [*statuses, os.wait()[1]] == [0] * 6
"""


@pytest.mark.slow
def test_writers_wait_for_each_other(path: Path) -> None:
    run_python(WRITE, path)
    assert read_zuliprc(path) == {"count": "101"}
    assert list(path.parent.iterdir()) == [path]
