from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from configparser import ConfigParser, Error
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.secret_scanner import SecretScanner
from zulip_auth import NotLoggedInError, ZuliprcError, _zuliprc
from zulip_auth._zuliprc import (
    ZuliprcSection,
    _is_lossless_edit,
    _Parser,
    check_replaceable,
    read_zuliprc,
    render_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
)

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
LINES = f"[api]\nemail=iago@zulip.com\nkey={KEY}\nsite=https://chat.example.com\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zuliprc"


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def zuliprc_error(call: Any, *args: Any, exc_type: type[ZuliprcError] = ZuliprcError) -> str:
    """Return the message of the exception, which must not repeat the file's content."""
    with pytest.raises(exc_type) as caught:
        call(*args)
    assert type(caught.value) is exc_type
    SecretScanner(KEY, "s3cret-line").check_error(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return str(caught.value)


def constant(values: dict[str, str | None]) -> Any:
    """Return an update that sets the same values in any file."""
    return lambda _existing: ZuliprcSection(values)


# ---- Path


def test_resolve_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/iago")
    monkeypatch.delenv("ZULIP_CONFIG", raising=False)
    assert resolve_zuliprc_path(None) == Path("/home/iago/.zuliprc")
    monkeypatch.setenv("ZULIP_CONFIG", "~/bot/zuliprc")
    assert resolve_zuliprc_path(None) == Path("/home/iago/bot/zuliprc")
    assert resolve_zuliprc_path("~/x") == resolve_zuliprc_path(Path("~/x")) == Path("/home/iago/x")


@pytest.mark.parametrize("path", [7, "~unknown-user/zuliprc"])
def test_resolve_path_invalid(path: Any) -> None:
    with pytest.raises(ZuliprcError, match=r"^Invalid zuliprc path, or no home directory\.$"):
        resolve_zuliprc_path(path)


# ---- Reading

READ: dict[str, tuple[str | bytes, str | None]] = {
    "as Zulip's settings page writes it": (LINES, KEY),
    "no newline at the end": (LINES.rstrip("\n"), KEY),
    "a byte order mark": (b"\xef\xbb\xbf" + LINES.encode(), KEY),
    "carriage returns": (LINES.replace("\n", "\r\n"), KEY),
    "only carriage returns": (LINES.replace("\n", "\r"), KEY),
    "spaces around the signs": (LINES.replace("=", "   =  "), KEY),
    "colons": (LINES.replace("=", ": "), KEY),
    "capitals": (LINES.replace("key", "Key"), KEY),
    "comments": ("# mine\n" + LINES.replace("key", "; old\nkey"), KEY),
    "another section before": ("[zterm]\ntheme=dark\n" + LINES, KEY),
    "another section after": (LINES + "[zterm]\ntheme=50%\n", KEY),
    "a default": (f"[DEFAULT]\nkey={KEY}\n[api]\nemail=x\n", KEY),
    "a % in a value": (LINES.replace(KEY, "50%of"), "50%of"),
    "a % written twice": (LINES.replace(KEY, "50%%of"), "50%of"),
    "a % that refers to nothing": (LINES.replace(KEY, "%(x)s"), "%(x)s"),
    "beyond ASCII": (LINES.replace("iago", "iagó"), KEY),
    "no key": (LINES.replace("key", "kez"), None),
    "a name with spaces": (LINES + "a name = x\n", KEY),
    "64 KiB": (LINES.ljust(2**16, "#"), KEY),
}


@pytest.mark.parametrize(("content", "key"), READ.values(), ids=READ)
def test_read_formats(path: Path, content: str | bytes, key: str | None) -> None:
    write(path, content)
    assert read_zuliprc(path).get("key") == key


MISSING: dict[str, str] = {
    "empty": "",
    "another section": LINES.replace("[api]", "[bot]"),
    "an empty section": "[api]\n",
}


@pytest.mark.parametrize("content", MISSING.values(), ids=MISSING)
def test_read_missing_section(path: Path, content: str) -> None:
    write(path, content)
    message = zuliprc_error(read_zuliprc, path, exc_type=NotLoggedInError)
    assert message == f"No section [api] in {path}. Run `zulip-auth login`."
    assert read_zuliprc(path, missing_ok=True) == {}


def test_read_other_section(path: Path) -> None:
    write(path, LINES + f"[bot 1]\nkey = {KEY[::-1]}\n")
    assert read_zuliprc(path, section="bot 1") == {"key": KEY[::-1]}
    with pytest.raises(NotLoggedInError, match=r"^No section \[bot 2\] in "):
        read_zuliprc(path, section="bot 2")


INVALID: dict[str, str | bytes] = {
    "no section": LINES.removeprefix("[api]\n"),
    "the section twice": LINES + LINES,
    "a value twice": LINES + f"key={KEY}\n",
    "a line that is none": LINES + "s3cret-line\n",
    "JSON": '{"key": "s3cret-line"}',
    "a program": b"\x7fELF\x02\x01\x01" + bytes(range(256)),
    "not UTF-8": LINES.encode() + b"# caf\xe9 s3cret-line\n",
    "UTF-16": LINES.encode("utf-16"),
    "too long": LINES + "#" * 2**16,
    "a bracket left open": "[api\n" + LINES,
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID)
def test_read_invalid_content(path: Path, content: str | bytes) -> None:
    write(path, content)
    assert zuliprc_error(read_zuliprc, path).startswith(f"{path} is not a zuliprc: ")


def test_read_invalid_messages(path: Path) -> None:
    contents: dict[str | bytes, str] = {
        "s3cret-line": "expected an [api] section with `name = value` lines. "
        "Run `zulip-auth login` to create one.",
        b"\xff": "not valid UTF-8.",
        "#" * (2**16 + 1): "larger than 64 KiB.",
    }
    for content, reason in contents.items():
        write(path, content)
        assert zuliprc_error(read_zuliprc, path) == f"{path} is not a zuliprc: {reason}"


def test_read_unreadable_file(path: Path) -> None:
    path.mkdir()
    assert zuliprc_error(read_zuliprc, path) == f"Could not read {path}: Is a directory."
    assert zuliprc_error(read_zuliprc, Path("a\0b")).endswith(": invalid path.")
    assert "larger than 64 KiB" in zuliprc_error(read_zuliprc, Path("/dev/zero"))


def test_read_missing_file(path: Path) -> None:
    message = zuliprc_error(read_zuliprc, path, exc_type=NotLoggedInError)
    assert message == f"{path} does not exist. Run `zulip-auth login`."
    assert read_zuliprc(path, missing_ok=True) == {}


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o601])
def test_read_warns_of_mode(path: Path, mode: int) -> None:
    write(path, LINES, mode)
    with pytest.warns(UserWarning, match=f"^{path} is readable by other users. Run: chmod 600 "):
        read_zuliprc(path)


@pytest.mark.parametrize("mode", [0o440, 0o444, 0o644])
def test_read_other_users_file(path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES, mode)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert read_zuliprc(path)["key"] == KEY  # without a warning


@pytest.mark.parametrize("value", ["true", "True", "yes", "1"])
def test_read_warns_of_insecure(path: Path, value: str) -> None:
    write(path, LINES + f"insecure = {value}\n")
    with pytest.warns(UserWarning, match=r"^insecure in .* is ignored; use cert_bundle\.$"):
        read_zuliprc(path)
    write(path, LINES + "insecure = False\n")
    read_zuliprc(path)


@pytest.mark.parametrize("line", ["a" + " " * 65_000 + "b", "a b " * 16_000, "a" * 65_000])
def test_read_time_is_linear(path: Path, line: str) -> None:
    start = time.process_time()
    write(path, f"[api]\n{line}\n")
    zuliprc_error(read_zuliprc, path)
    write(path, f"[api]\n{line}= x\n")
    assert read_zuliprc(path) == {line.rstrip(): "x"}
    update_zuliprc(path, constant({line.rstrip(): None}))
    # The pattern of ConfigParser takes more than half a minute for each.
    assert time.process_time() - start < 5


# ---- Writing


def test_write_new_file(path: Path) -> None:
    os.umask(os.umask(0))
    update_zuliprc(path, constant({"email": "iago@zulip.com", "key": KEY, "site": None}))
    assert path.read_text() == f"[api]\nemail = iago@zulip.com\nkey = {KEY}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_update_preserves_other_lines(path: Path) -> None:
    old = (
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        "[api]\n# Made by hand\nEMAIL: old@zulip.com\nkey = old\n  XY\n"
        "color=red\nsite=https://chat.example.com\n\n[more]\nx = X"
    )
    write(path, old, 0o644)
    calls: list[ZuliprcSection | None] = []

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        calls.append(existing)
        return ZuliprcSection(email="iago@zulip.com", key=KEY)

    update_zuliprc(path, update)
    assert calls == [
        {
            "email": "old@zulip.com",
            "key": "old\nXY",
            "color": "red",
            "site": "https://chat.example.com",
        }
    ]
    assert path.read_text() == (
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        f"[api]\nemail = iago@zulip.com\nkey = {KEY}\n# Made by hand\n"
        "color=red\nsite=https://chat.example.com\n\n[more]\nx = X\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_update_removes_option(path: Path) -> None:
    write(path, LINES)
    update_zuliprc(path, constant({"key": None}))
    assert path.read_text() == LINES.replace(f"key={KEY}\n", "")


def test_update_that_raises(path: Path) -> None:
    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        raise ZuliprcError("Not this file.")

    write(path, LINES, 0o644)
    assert zuliprc_error(update_zuliprc, path, update) == "Not this file."
    assert path.read_text() == LINES
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", MISSING.values(), ids=MISSING)
def test_update_missing_section(path: Path, content: str) -> None:
    write(path, content)
    update_zuliprc(path, constant({"name": "value"}))
    assert read_zuliprc(path) == {"name": "value"}
    assert path.read_text().startswith(content.replace("[api]\n", ""))


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID)
def test_overwrite_invalid_file(path: Path, content: str | bytes) -> None:
    write(path, content)
    calls: list[ZuliprcSection | None] = []

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        calls.append(existing)
        return ZuliprcSection(key=KEY)

    update_zuliprc(path, update)
    assert calls == [None]
    assert path.read_text() == f"[api]\nkey = {KEY}\n"


LAYOUTS = {
    "a header with a remark": ("[api] # mine\nkey=old\n", "[api] # mine\nkey = new\n"),
    "an indented header": (" [api]\nkey=old\n", " [api]\nkey = new\n"),
    "an indented header after another": (
        "[x]\n\n [api]\nkey=old\n",
        "[x]\n\n [api]\nkey = new\n",
    ),
    "a header that looks like an option": (
        "[a=b]\n [api]\nkey=old\n",
        "[a=b]\n [api]\nkey = new\n",
    ),
    "an indented option": ("[api]\n   key=old\n", "[api]\n   key = new\n"),
    "an option less indented than the first": (
        "[api]\n  color=red\nkey=old\n",
        "[api]\n  key = new\n  color=red\n",
    ),
    "carriage returns": ("[api]\r\n# mine\r\nkey=old\r\n", "[api]\nkey = new\n# mine\n"),
}


@pytest.mark.parametrize(("old", "new"), LAYOUTS.values(), ids=LAYOUTS)
def test_update_preserves_layout(path: Path, old: str, new: str) -> None:
    write(path, old)
    update_zuliprc(path, constant({"key": "new"}))
    assert path.read_bytes() == new.encode()
    assert read_zuliprc(path)["key"] == "new"


def test_update_unsafe_content(path: Path) -> None:
    content = f"[DEFAULT]\nkey={KEY}\n[api]\nemail=iago@zulip.com\n"
    write(path, content)
    message = zuliprc_error(update_zuliprc, path, constant({"key": None}))
    assert message == f"{path} cannot be updated safely. Use another path."
    assert path.read_text() == content


def test_update_indented_options(path: Path) -> None:
    old = "[api]\n  # mine\n  email=old\n  key=a\n    b\n    # mine too\n\n  color=red\n[x]\ny=1\n"
    write(path, old)
    update_zuliprc(path, constant({"email": "new", "key": "k3y"}))
    text = path.read_text()
    assert read_zuliprc(path) == {"email": "new", "key": "k3y", "color": "red"}
    assert "# mine\n" in text
    assert "# mine too\n" in text
    assert "y=1" in text


def test_update_adds_section(path: Path) -> None:
    write(path, "# mine\n[zterm]\ntheme = dark\n")
    update_zuliprc(path, constant({"key": "new"}))
    assert path.read_text() == "# mine\n[zterm]\ntheme = dark\n\n[api]\nkey = new\n"


def test_update_preserves_continuation(path: Path) -> None:
    write(path, "[api]\nkey = old\ncolors = red\n  blue\n")
    update_zuliprc(path, constant({"key": "new"}))
    assert path.read_text() == "[api]\nkey = new\ncolors = red\n  blue\n"


def test_section_repr_hides_values() -> None:
    assert repr({"x": ZuliprcSection(key=KEY)}) == "{'x': <ZuliprcSection>}"


def test_lossless_edit() -> None:
    for key, old, expected in [
        ("a", "", True),
        ("a\nb", "", False),
        ("a\n[b]\nc=d", "", False),
        ("a", "no section", False),
        ("a", "[x]\ny=1\n", True),
    ]:
        section = ZuliprcSection(key=key)
        assert _is_lossless_edit(old, render_zuliprc(section, old), section, "api") is expected


def test_read_limits_interpolation(path: Path) -> None:
    write(path, "[api]\nuser=iago\nemail=" + "%(user)s" * 8)
    assert read_zuliprc(path)["email"] == "iago" * 8
    lines = ["[api]", "a0=" + "x" * 40]
    lines += [f"a{n + 1}=" + f"%(a{n})s" * 40 for n in range(5)]
    write(path, "\n".join(lines))
    assert read_zuliprc(path)["a5"] == "%(a4)s" * 40


def test_path_of_invalid_name() -> None:
    path = Path("x" * 5000)
    message = zuliprc_error(update_zuliprc, path, constant({}))
    assert message == f"Could not write {path}: File name too long."
    assert zuliprc_error(read_zuliprc, path) == f"Could not read {path}: File name too long."
    assert zuliprc_error(check_replaceable, Path("a\0b")).endswith("b: invalid path.")


@pytest.mark.parametrize("previous", [None, LINES])
def test_update_of_changed_file(path: Path, previous: str | None) -> None:
    if previous is not None:
        write(path, previous)

    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        write(path, "[api]\nkey = theirs\n")
        return ZuliprcSection(key="ours")

    assert zuliprc_error(update_zuliprc, path, update) == (
        f"{path} was changed by another program. Try again."
    )
    assert read_zuliprc(path) == {"key": "theirs"}
    assert list(path.parent.iterdir()) == [path]


def test_update_of_removed_file(path: Path) -> None:
    write(path, LINES)

    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        path.unlink()
        return ZuliprcSection(key="ours")

    assert zuliprc_error(update_zuliprc, path, update) == (
        f"{path} was changed by another program. Try again."
    )


@pytest.mark.parametrize("value", ["a\nb = c", " a", "a\n[x]", "a "])
def test_update_unsafe_value(path: Path, value: str) -> None:
    message = zuliprc_error(update_zuliprc, path, constant({"cert_bundle": value}))
    assert message == f"{path} cannot be updated safely. Use another path."
    assert not path.exists()


def symlink(path: Path) -> str:
    target = path.with_name("target")
    write(target, LINES)
    path.symlink_to(target)
    return f"{path} is a symbolic link. Use the path of its target."


def dangling_symlink(path: Path) -> str:
    path.symlink_to(path.with_name("target"))
    return f"{path} is a symbolic link. Use the path of its target."


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return f"{path} is not a regular file."


def directory(path: Path) -> str:
    path.mkdir()
    return f"{path} is not a regular file."


def file_as_parent(path: Path) -> str:
    path.parent.rmdir()
    path.parent.touch()
    return f"Could not write {path}: Not a directory."


def missing_parent(path: Path) -> str:
    path.parent.rmdir()
    return f"Could not write {path}: No such file or directory."


def directory_as_tmp_file(path: Path) -> str:
    path.with_name(f".{path.name}.tmp").mkdir()
    return f"Could not write {path}: Is a directory."


def symlink_as_tmp_file(path: Path) -> str:
    path.with_name(f".{path.name}.tmp").symlink_to("/dev/null")
    return f"Could not write {path}: Too many levels of symbolic links."


def fifo_as_tmp_file(path: Path) -> str:
    os.mkfifo(path.with_name(f".{path.name}.tmp"))
    return f"Could not write {path}: No such device or address."


OBSTACLES = [
    symlink,
    dangling_symlink,
    fifo,
    directory,
    file_as_parent,
    missing_parent,
    directory_as_tmp_file,
    symlink_as_tmp_file,
    fifo_as_tmp_file,
]


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_obstacle_is_found_by_check(path: Path, obstacle: Callable[[Path], str]) -> None:
    path = path.parent / "config" / "zuliprc"
    path.parent.mkdir()
    message = obstacle(path)
    before = sorted(path.parent.parent.rglob("*"))
    assert zuliprc_error(check_replaceable, path) == message
    assert zuliprc_error(update_zuliprc, path, constant({"key": "new"})) == message
    assert sorted(path.parent.parent.rglob("*")) == before


@pytest.mark.parametrize("content", [None, LINES])
def test_check_leaves_nothing(path: Path, content: str | None) -> None:
    if content is not None:
        write(path, content, 0o400)
    before = [(file, file.stat().st_mode, file.read_text()) for file in path.parent.iterdir()]
    check_replaceable(path)
    after = [(file, file.stat().st_mode, file.read_text()) for file in path.parent.iterdir()]
    assert after == before


# Run in a process of its own, as a user without privileges.
CHECK_AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from zulip_auth import ZuliprcError
from zulip_auth._zuliprc import check_replaceable, update_zuliprc

path = Path(sys.argv[1])
check_replaceable(path)  # imports modules, which may not be accessible later
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for call in (check_replaceable, lambda path: update_zuliprc(path, dict)):
    try:
        call(path)
    except ZuliprcError as error:
        print(error)
"""


def run_python(code: str, *args: object, command: tuple[str, ...] = ()) -> str:
    """Run *code* in another process, and return its output."""
    result = subprocess.run(
        [*command, sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


@pytest.mark.slow
@requires_root
@pytest.mark.parametrize(
    ("directory_mode", "owner", "reason"),
    [(0o755, 65534, "Permission denied"), (0o777, 0, "Permission denied")],
    ids=["read-only directory", "another owner"],
)
def test_check_without_privileges(directory_mode: int, owner: int, reason: str) -> None:
    with TemporaryDirectory() as name:  # pytest's own is not accessible to others
        path = Path(name, "zuliprc")
        write(path, LINES)
        os.chown(path, owner, owner)
        path.parent.chmod(directory_mode)
        message = f"Could not write {path}: {reason}.\n"
        assert run_python(CHECK_AS_NOBODY, path) == 2 * message


@requires_root
def test_update_preserves_owner(path: Path) -> None:
    write(path, LINES)
    os.chown(path, 12345, 54321)
    update_zuliprc(path, constant({"key": "new"}))
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert "key = new" in path.read_text()


def test_update_by_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, LINES)
    status = path.stat()
    owners: list[tuple[int, int]] = []
    fstat = os.fstat

    def fstat_of_another(fd: int) -> os.stat_result:
        result = fstat(fd)
        if result.st_ino == status.st_ino:
            return result
        return os.stat_result((*result[:4], 12345, *result[5:10]))

    monkeypatch.setattr("zulip_auth._zuliprc.os.fstat", fstat_of_another)
    monkeypatch.setattr(os, "fchown", lambda _fd, uid, gid: owners.append((uid, gid)))
    monkeypatch.setattr(os.path, "samestat", lambda a, b: a.st_ino == b.st_ino)
    update_zuliprc(path, constant({"key": "new"}))
    assert owners == [(status.st_uid, status.st_gid)]
    assert "key = new" in path.read_text()


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o400, 0o400), (0o644, 0o600)]
)
def test_update_preserves_mode(path: Path, before: int, after: int) -> None:
    """A group, as of a service, keeps its access; all other users lose theirs."""
    write(path, LINES, before)
    update_zuliprc(path, constant({"key": "new"}))
    assert stat.S_IMODE(path.stat().st_mode) == after


@requires_root
def test_update_preserves_group(path: Path) -> None:
    write(path, LINES, 0o640)
    os.chown(path, 0, 54321)
    update_zuliprc(path, constant({"key": "new"}))
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 54321, 0o640)


# ---- Others who can write to the directory


@pytest.mark.parametrize("call", [check_replaceable, lambda p: update_zuliprc(p, constant({}))])
def test_link_that_is_swapped_in(path: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the check, the file becomes a link to one of the administrator's."""
    write(path, LINES)
    secret = path.with_name("shadow")
    write(secret, f"[api]\nkey = {KEY}\n", 0o400)
    is_mount_point = _zuliprc._is_mount_point

    def swap(target: Path) -> bool:
        target.unlink()
        target.symlink_to(secret)
        return is_mount_point(secret)

    monkeypatch.setattr(_zuliprc, "_is_mount_point", swap)
    before = secret.stat()
    message = zuliprc_error(call, path)
    assert message == f"Could not write {path}: Too many levels of symbolic links."
    assert (secret.stat().st_mode, secret.stat().st_ctime_ns) == (
        before.st_mode,
        before.st_ctime_ns,
    )
    assert path.is_symlink()
    assert sorted(path.parent.iterdir()) == [secret, path]


def test_directory_that_is_swapped_in(tmp_path: Path) -> None:
    """The directory is opened once; a link in its place leads nowhere."""
    directory, other = tmp_path / "home", tmp_path / "etc"
    directory.mkdir()
    other.mkdir()
    write(other / "zuliprc", LINES)
    write(directory / "zuliprc", LINES)

    def update(_: ZuliprcSection | None) -> ZuliprcSection:
        directory.rename(tmp_path / "moved")
        directory.symlink_to(other)
        return ZuliprcSection(key="new")

    update_zuliprc(directory / "zuliprc", update)
    assert (other / "zuliprc").read_text() == LINES
    assert "key = new" in (tmp_path / "moved" / "zuliprc").read_text()


def test_check_mount_point(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path.with_name("a zuliprc é")
    write(path, LINES)
    mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 /source %s rw - ext4 /dev/sda1 rw\n"
    monkeypatch.setattr(Path, "read_bytes", lambda _: mounts % b"/another")
    check_replaceable(path)
    monkeypatch.setattr(
        Path, "read_bytes", lambda _: mounts % os.fsencode(path).replace(b" ", rb"\040")
    )
    message = f"{path} is a mount point. Mount its directory instead."
    assert zuliprc_error(check_replaceable, path) == message


def test_check_without_proc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_bytes(_: Path) -> bytes:
        raise FileNotFoundError

    write(path, LINES)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    check_replaceable(path)


CHECK_MOUNTED_FILE = """
import subprocess, sys
from pathlib import Path
from zulip_auth import ZuliprcError
from zulip_auth._zuliprc import check_replaceable

path = Path(sys.argv[1])
mount = subprocess.run(["mount", "--bind", sys.argv[2], path], capture_output=True)
if mount.returncode:
    print("cannot mount")
else:
    try:
        Path(sys.argv[2]).replace(path)
    except OSError as error:
        print(error.strerror)
    try:
        check_replaceable(path)
    except ZuliprcError as error:
        print(error)
"""


@pytest.mark.slow
@requires_root
def test_check_mounted_file(path: Path) -> None:
    path = path.with_name("a zuliprc é")
    source = path.with_name("source")
    write(path, LINES)
    write(source, LINES)
    try:
        output = run_python(CHECK_MOUNTED_FILE, path, source, command=("unshare", "--mount"))
    except (AssertionError, FileNotFoundError):
        output = "cannot mount\n"
    if output == "cannot mount\n":
        pytest.skip("requires the right to mount")
    reason, message = output.splitlines()
    assert reason == "Device or resource busy"
    assert message == f"{path} is a mount point. Mount its directory instead."


def test_leftover_tmp_file_is_removed(path: Path) -> None:
    write(path.with_name(f".{path.name}.tmp"), "[api]\nkey = leftover\n" * 100, 0o644)
    update_zuliprc(path, constant({"key": "new"}))
    assert path.read_text() == "[api]\nkey = new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_writers_wait_for_each_other(path: Path) -> None:
    entered, proceed = threading.Event(), threading.Event()

    def slow(_: ZuliprcSection | None) -> ZuliprcSection:
        entered.set()
        assert proceed.wait(10)
        return ZuliprcSection(first="1")

    with ThreadPoolExecutor(2) as executor:
        first = executor.submit(update_zuliprc, path, slow)
        assert entered.wait(10)
        second = executor.submit(update_zuliprc, path, constant({"second": "2"}))
        wait([second], timeout=0.1)
        assert not second.done()
        proceed.set()
        first.result(10)
        second.result(10)
    assert read_zuliprc(path) == {"first": "1", "second": "2"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the descriptor in /proc")
def test_lock_is_released_after_a_fork(path: Path) -> None:
    """A process that is forked during an update has a duplicate of the locked descriptor."""
    entered, proceed = threading.Event(), threading.Event()
    duplicates: list[int] = []

    def slow(_: ZuliprcSection | None) -> ZuliprcSection:
        tmp_path = path.with_name(f".{path.name}.tmp")
        descriptors = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        locked = (fd for fd in descriptors if fd.readlink() == tmp_path)
        duplicates.extend(os.dup(int(fd.name)) for fd in locked)
        entered.set()
        assert proceed.wait(10)
        return ZuliprcSection(first="1")

    with ThreadPoolExecutor(2) as executor:
        first = executor.submit(update_zuliprc, path, slow)
        assert entered.wait(10)
        second = executor.submit(update_zuliprc, path, constant({"second": "2"}))
        wait([second], timeout=0.1)
        proceed.set()
        first.result(10)
        done, _ = wait([second], timeout=5)
        for fd in duplicates:
            os.close(fd)
    assert duplicates
    assert done == {second}


def test_update_on_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    write(path, LINES)
    monkeypatch.setattr(os, "fsync", no_space)
    assert "No space left on device" in zuliprc_error(
        update_zuliprc, path, constant({"key": "new"})
    )
    assert path.read_text() == LINES
    assert list(path.parent.iterdir()) == [path]


SAVE_WITHOUT_POSIX = """
import os, sys
from pathlib import Path

sys.modules["fcntl"] = None
for name in ("fchmod", "fchown", "geteuid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
os.supports_dir_fd = set()

from zulip_auth._zuliprc import ZuliprcSection, check_replaceable, read_zuliprc, update_zuliprc

path = Path(sys.argv[1])
tmp_path = path.with_name(f".{path.name}.tmp")
tmp_path.touch()
check_replaceable(path)
for key in ("a", "b"):
    update_zuliprc(path, lambda _: ZuliprcSection(key=key))
    assert read_zuliprc(path) == {"key": key}
    assert list(path.parent.iterdir()) == [path]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("measured_subprocesses")
def test_save_without_posix(path: Path) -> None:
    """Windows has no flock, owners, symbolic link flags or descriptors of directories."""
    run_python(SAVE_WITHOUT_POSIX, path)


# ---- Properties

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
values = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12
).map(str.strip)
others = st.dictionaries(
    names.filter(lambda n: n not in ("key", "email", "api", "default")), values
)


@given(st.dictionaries(st.sampled_from(["key", "email"]), values.filter(bool)), others, others)
def test_render_round_trip(
    options: dict[str, str], other_options: dict[str, str], other_section: dict[str, str]
) -> None:
    sections = {"api": {**other_options, "key": "old"}, "zterm": other_section}
    old = ""
    for title, items in sections.items():
        old += f"[{title}]\n" + "".join(f"{name} = {value}\n" for name, value in items.items())
    section = ZuliprcSection(options)
    new = render_zuliprc(section, old)
    is_lossless = _is_lossless_edit(old, new, section, "api")
    before, after = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    try:
        before.read_string(old)
    except Exception:  # noqa: BLE001 - a file that is not a zuliprc is not edited
        assert not is_lossless
        return
    if not is_lossless:  # such as a value that begins a comment
        return
    after.read_string(new)
    assert dict(after["zterm"]) == dict(before["zterm"])
    for name, value in before["api"].items():
        if name not in options:
            assert after["api"][name] == value
    official = ConfigParser()
    official.read_string(new)
    assert {name: official.get("api", name) for name in options} == options


lines = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    | st.sampled_from(":= %[]"),
    max_size=30,
)


@given(st.lists(lines, max_size=5).map("\n".join))
def test_parser_is_like_configparser(text: str) -> None:
    results: list[object] = []
    for parser in (ConfigParser(), _Parser()):
        try:
            parser.read_string(f"[api]\n{text}")
        except Error as error:
            results.append(type(error).__name__)
        else:
            results.append({name: dict(parser.items(name, raw=True)) for name in parser.sections()})
    assert results[0] == results[1]


# ---- Killed processes

KILL_AT_EACH_LINE = """
import itertools, os, signal, sys
from pathlib import Path
from zulip_auth import _zuliprc
from zulip_auth._zuliprc import ZuliprcSection, read_zuliprc, update_zuliprc

path = Path(sys.argv[1])
key = ("old" * 100, "new" * 100)
update_zuliprc(path, lambda _: ZuliprcSection(key=key[0]))
for line_count in itertools.count(1):
    child = os.fork()
    if child == 0:
        remaining = line_count

        def trace(frame, event, arg):
            global remaining
            if frame.f_code.co_filename != _zuliprc.__file__:
                return None
            remaining -= event == "line"
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        update_zuliprc(path, lambda _: ZuliprcSection(key=key[1]))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    left = sorted(file.name for file in path.parent.iterdir() if file != path)
    found = key.index(read_zuliprc(path)["key"])
    print("killed" if status else "done", found, *left)
    if status == 0:
        break
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())
    if found:
        update_zuliprc(path, lambda _: ZuliprcSection(key=key[0]))
"""


@pytest.mark.slow
def test_kill_at_each_line(path: Path, record_property: Any) -> None:
    *killed, done = run_python(KILL_AT_EACH_LINE, path).splitlines()
    record_property("killed", f"{len(killed)} lines")
    tmp = f".{path.name}.tmp"
    # Before the temporary file, with it, and after the old file was replaced.
    assert sorted(set(killed)) == ["killed 0", f"killed 0 {tmp}", "killed 1"]
    assert done == "done 1"


KILL_200_TIMES = """
import itertools, os, random, signal, sys, time, warnings
from pathlib import Path
from zulip_auth._zuliprc import ZuliprcSection, read_zuliprc, update_zuliprc

warnings.simplefilter("error")  # of a file that other users can read
path = Path(sys.argv[1])
jitter = random.Random(1)
killed_writing, keys = 0, set()
for run in range(200):
    child = os.fork()
    if child == 0:
        for number in itertools.count():
            key = f"{run:010}-{number:010}" * 100
            update_zuliprc(path, lambda _: ZuliprcSection(email=key, key=key, site=key))
    time.sleep(jitter.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if path.exists():
        section = read_zuliprc(path)
        assert section["email"] == section["key"] == section["site"]
        keys.add(section["key"])
    killed_writing += len([file for file in path.parent.iterdir() if file != path])
update_zuliprc(path, lambda _: ZuliprcSection(key="last"))
assert list(path.parent.iterdir()) == [path]
print(f"{len(keys)} different files, {killed_writing} of 200 kills while writing one")
"""


@pytest.mark.slow
def test_kill_200_times(path: Path, record_property: Any) -> None:
    record_property("killed", run_python(KILL_200_TIMES, path).strip())


WRITE_100_TIMES = """
import os, sys, time
from pathlib import Path
from zulip_auth._zuliprc import ZuliprcSection, update_zuliprc

path = Path(sys.argv[1])
start = time.monotonic()
children = []
for number in range(20):
    child = os.fork()
    if child == 0:
        def increment(section):
            values = {name: section.get(name) or "0" for name in ("all", f"of {number}")}
            return ZuliprcSection({name: str(int(text) + 1) for name, text in values.items()})

        for _ in range(100):
            update_zuliprc(path, increment)
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
print(f"{time.monotonic() - start:.1f} s")
"""


@pytest.mark.slow
def test_20_writers_of_100_updates(path: Path, record_property: Any) -> None:
    duration = run_python(WRITE_100_TIMES, path).strip()
    record_property("concurrent writers", f"20 processes, 100 updates each, {duration}")
    expected = {"all": "2000"} | {f"of {number}": "100" for number in range(20)}
    assert read_zuliprc(path) == expected
    assert list(path.parent.iterdir()) == [path]
