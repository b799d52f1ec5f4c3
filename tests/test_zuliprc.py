from __future__ import annotations

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.secret_scanner import SecretScanner
from zulip_auth import ZuliprcError
from zulip_auth._zuliprc import (
    ZuliprcSection,
    read_zuliprc,
    render_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
    why_not_replaceable,
)

KEY = "fAEg1OmbknQqBdDG3cVHyP2jjGLMfmtF"
LINES = f"[api]\nemail=iago@zulip.com\nkey={KEY}\nsite=https://chat.example.com\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zuliprc"


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def refused(call: Any, *arguments: Any) -> str:
    """Return what the error says, once it is sure that it says nothing of the file."""
    with pytest.raises(ZuliprcError) as caught:
        call(*arguments)
    SecretScanner(KEY, "s3cret-line").check_error(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return str(caught.value)


def always(values: dict[str, str | None] | None) -> Any:
    return lambda _held: None if values is None else ZuliprcSection(values)


# ---- Where it is


def test_the_path_is_given_or_named_by_the_environment_or_in_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/iago")
    monkeypatch.delenv("ZULIP_CONFIG", raising=False)
    assert resolve_zuliprc_path(None) == Path("/home/iago/.zuliprc")
    monkeypatch.setenv("ZULIP_CONFIG", "~/bot/zuliprc")
    assert resolve_zuliprc_path(None) == Path("/home/iago/bot/zuliprc")
    assert resolve_zuliprc_path("~/x") == resolve_zuliprc_path(Path("~/x")) == Path("/home/iago/x")


@pytest.mark.parametrize("path", [7, "~nobody-of-that-name/zuliprc"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    assert "path of a zuliprc" in refused(resolve_zuliprc_path, path)


# ---- Reading

READ: dict[str, tuple[str | bytes, str | None]] = {
    "as Zulip's settings page writes it": (LINES, KEY),
    "no newline at the end": (LINES.rstrip("\n"), KEY),
    "a byte order mark": (b"\xef\xbb\xbf" + LINES.encode(), KEY),
    "carriage returns": (LINES.replace("\n", "\r\n"), KEY),
    "carriage returns alone": (LINES.replace("\n", "\r"), KEY),
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
}


@pytest.mark.parametrize(("content", "key"), READ.values(), ids=READ)
def test_what_tools_write_is_read(path: Path, content: str | bytes, key: str | None) -> None:
    write(path, content)
    assert read_zuliprc(path).get("key") == key


NOT_READ: dict[str, str | bytes] = {
    "empty": "",
    "no section": LINES.removeprefix("[api]\n"),
    "another section": LINES.replace("[api]", "[API]"),
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


@pytest.mark.parametrize("content", NOT_READ.values(), ids=NOT_READ)
def test_anything_else_is_refused_and_not_repeated(path: Path, content: str | bytes) -> None:
    write(path, content)
    assert refused(read_zuliprc, path).startswith(f"{path} is no zuliprc: ")


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    assert refused(read_zuliprc, path) == f"{path} cannot be read: No such file or directory."
    path.mkdir()
    assert refused(read_zuliprc, path) == f"{path} cannot be read: Is a directory."
    assert refused(read_zuliprc, Path("a\0b")).endswith("cannot be read: that is no path.")
    assert "too long" in refused(read_zuliprc, Path("/dev/zero"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_open_to_others_is_warned_about(path: Path, mode: int) -> None:
    write(path, LINES, mode)
    with pytest.warns(UserWarning, match=f"chmod 600 {path}$"):
        read_zuliprc(path)


# ---- Writing


def test_a_file_is_written_for_its_owner_alone(path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is here
    update_zuliprc(path, always({"email": "iago@zulip.com", "key": KEY, "site": None}))
    assert path.read_text() == f"[api]\nemail = iago@zulip.com\nkey = {KEY}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_what_else_is_in_the_file_stays(path: Path) -> None:
    old = (
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        "[api]\n# Made by hand\nEMAIL: old@zulip.com\nkey = old\n  of two lines\n"
        "colour=red\nsite=https://chat.example.com\n\n[more]\nx = 1"
    )
    write(path, old, 0o644)
    held: list[ZuliprcSection | None] = []

    def decide(each: ZuliprcSection | None) -> ZuliprcSection:
        held.append(each)
        return ZuliprcSection(email="iago@zulip.com", key=KEY)

    update_zuliprc(path, decide)
    assert held == [
        {
            "email": "old@zulip.com",
            "key": "old\nof two lines",
            "colour": "red",
            "site": "https://chat.example.com",
        }
    ]
    assert path.read_text() == (
        "# Mine\n\n[zterm]\ntheme = 50%\nkey = theirs\n\n"
        f"[api]\nemail = iago@zulip.com\nkey = {KEY}\n# Made by hand\n"
        "colour=red\nsite=https://chat.example.com\n\n[more]\nx = 1\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_value_can_be_removed(path: Path) -> None:
    write(path, LINES)
    update_zuliprc(path, always({"key": None}))
    assert path.read_text() == LINES.replace(f"key={KEY}\n", "")


def test_a_file_may_have_to_stay(path: Path) -> None:
    write(path, LINES, 0o644)
    assert "holds something else" in refused(update_zuliprc, path, always(None))
    assert path.read_text() == LINES


# To these, the section can be added.
FREE = ("empty", "another section")
UNPARSABLE = {name: content for name, content in NOT_READ.items() if name not in FREE}


@pytest.mark.parametrize("content", UNPARSABLE.values(), ids=UNPARSABLE)
def test_what_is_no_zuliprc_is_replaced_only_as_a_whole(path: Path, content: str | bytes) -> None:
    write(path, content)
    held: list[ZuliprcSection | None] = []

    def decide(each: ZuliprcSection | None) -> ZuliprcSection:
        held.append(each)
        return ZuliprcSection(key=KEY)

    update_zuliprc(path, decide)
    assert held == [None]
    assert path.read_text() == f"[api]\nkey = {KEY}\n"


UNEDITABLE = {
    "a header with a remark": "[api] # mine\nkey=old\n",
    "an indented option": "[api]\n   key=old\n",
    "an indented header": "[x]\n\n [api]\nkey = old\n",
}


@pytest.mark.parametrize("content", UNEDITABLE.values(), ids=UNEDITABLE)
def test_what_cannot_be_changed_safely_is_left_alone(path: Path, content: str) -> None:
    write(path, content)
    try:
        update_zuliprc(path, always({"key": KEY}))
    except ZuliprcError as error:
        assert "cannot be changed safely" in str(error)
        assert path.read_text() == content
    else:
        assert read_zuliprc(path) == {"key": KEY}


def test_indented_values_and_comments_are_what_they_are_for_other_tools(path: Path) -> None:
    old = "[api]\n  # mine\n  email=old\n  key=a\n    b\n    # mine too\n\n  colour=red\n[x]\ny=1\n"
    write(path, old)
    update_zuliprc(path, always({"email": "new", "key": "k3y"}))
    text = path.read_text()
    assert read_zuliprc(path) == {"email": "new", "key": "k3y", "colour": "red"}
    assert "# mine\n" in text
    assert "# mine too\n" in text
    assert "y=1" in text


def test_a_section_is_added_to_the_others(path: Path) -> None:
    write(path, "# mine\n[zterm]\ntheme = dark\n")
    update_zuliprc(path, always({"key": "new"}))
    assert path.read_text() == "# mine\n[zterm]\ntheme = dark\n\n[api]\nkey = new\n"


def test_a_value_of_two_lines_stays(path: Path) -> None:
    write(path, "[api]\nkey = old\ncolours = red\n  blue\n")
    update_zuliprc(path, always({"key": "new"}))
    assert path.read_text() == "[api]\nkey = new\ncolours = red\n  blue\n"


def test_what_would_be_no_zuliprc_any_more_is_not_made() -> None:
    assert render_zuliprc(ZuliprcSection(key="a\nb")) is None
    assert render_zuliprc(ZuliprcSection(key="a"), "no section") is None


def test_a_few_references_are_followed_and_no_more(path: Path) -> None:
    write(path, "[api]\nuser=iago\nemail=%(user)s@zulip.com\n")
    assert read_zuliprc(path)["email"] == "iago@zulip.com"
    lines = ["[api]", "a0=" + "x" * 40]
    lines += [f"a{n + 1}=" + f"%(a{n})s" * 40 for n in range(5)]
    write(path, "\n".join(lines))
    assert read_zuliprc(path)["a5"] == "%(a4)s" * 40


def test_only_a_file_is_replaced(path: Path) -> None:
    os.mkfifo(path)
    assert "is no file that could be replaced" in refused(update_zuliprc, path, always({}))
    odd = Path("x" * 5000)
    assert "File name too long" in refused(update_zuliprc, odd, always({}))
    assert "File name too long" in refused(read_zuliprc, odd)
    assert why_not_replaceable(Path("a\0b")) == "cannot be written: that is no path."


def test_what_is_not_there_may_count_as_empty(path: Path) -> None:
    assert read_zuliprc(path, missing_ok=True) == {}


@pytest.mark.parametrize("before", [None, LINES])
def test_a_file_that_another_program_writes_meanwhile_is_not_lost(
    path: Path, before: str | None
) -> None:
    if before is not None:
        write(path, before)

    def decide(_: ZuliprcSection | None) -> ZuliprcSection:
        write(path, "[api]\nkey = theirs\n")
        return ZuliprcSection(key="ours")

    assert "was written by another program meanwhile" in refused(update_zuliprc, path, decide)
    assert read_zuliprc(path) == {"key": "theirs"}
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_goes_meanwhile_is_not_made_anew(path: Path) -> None:
    write(path, LINES)

    def decide(_: ZuliprcSection | None) -> ZuliprcSection:
        path.unlink()
        return ZuliprcSection(key="ours")

    assert "was written by another program meanwhile" in refused(update_zuliprc, path, decide)


@pytest.mark.parametrize("value", ["a\nb = c", " a", "a\n[x]", "a "])
def test_a_value_that_would_not_come_back_is_not_written(path: Path, value: str) -> None:
    assert "cannot hold this" in refused(update_zuliprc, path, always({"cert_bundle": value}))
    assert not path.exists()


def test_no_symbolic_link_is_followed(path: Path) -> None:
    target = path.with_name("target")
    write(target, LINES)
    path.symlink_to(target)
    assert "is a symbolic link" in refused(update_zuliprc, path, always({"key": "new"}))
    assert read_zuliprc(path)["key"] == KEY
    target.unlink()  # nor is one that leads nowhere
    assert "is a symbolic link" in refused(update_zuliprc, path, always({"key": "new"}))
    assert not target.exists()


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(path: Path) -> None:
    missing = path / "zuliprc"
    assert refused(update_zuliprc, missing, always({"key": KEY})) == (
        f"{missing} cannot be written: No such file or directory."
    )
    path.mkdir()
    assert "is no file that could be replaced" in refused(
        update_zuliprc, path, always({"key": KEY})
    )
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    write(path, LINES)
    monkeypatch.setattr(os, "fsync", no_space)
    assert "No space left on device" in refused(update_zuliprc, path, always({"key": "new"}))
    assert path.read_text() == LINES
    assert list(path.parent.iterdir()) == [path]


# ---- Properties

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
values = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12
).map(str.strip)
others = st.dictionaries(
    names.filter(lambda n: n not in ("key", "email", "api", "default")), values
)


@given(st.dictionaries(st.sampled_from(["key", "email"]), values.filter(bool)), others, others)
def test_what_is_written_is_read_and_the_rest_is_as_it_was(
    ours: dict[str, str], beside: dict[str, str], section: dict[str, str]
) -> None:
    sections = {"api": {**beside, "key": "old"}, "zterm": section}
    old = ""
    for title, options in sections.items():
        old += f"[{title}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
    new = render_zuliprc(ZuliprcSection(ours), old)
    before, after = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    try:
        before.read_string(old)
    except Exception:  # noqa: BLE001 - what is no zuliprc is not kept
        assert new is None
        return
    if new is None:  # only where a value does not come back, such as one that begins a comment
        return
    after.read_string(new)
    assert dict(after["zterm"]) == dict(before["zterm"])
    for name, value in before["api"].items():
        if name not in ours:
            assert after["api"][name] == value
    official = ConfigParser()
    official.read_string(new)
    assert {name: official.get("api", name) for name in ours} == ours


# ---- A crash at any point

KILL_200_TIMES = """
import itertools, os, random, signal, sys, time, warnings
from pathlib import Path
from zulip_auth._zuliprc import ZuliprcSection, read_zuliprc, update_zuliprc

warnings.simplefilter("error")  # about a file that others may read
path = Path(sys.argv[1])
draw = random.Random(1)
torn, found = 0, set()
for run in range(200):
    child = os.fork()
    if child == 0:
        for number in itertools.count():
            key = f"{run:010}-{number:010}" * 100
            update_zuliprc(path, lambda held: ZuliprcSection(email=key, key=key, site=key))
    time.sleep(draw.uniform(0.0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if path.exists():
        held = read_zuliprc(path)
        assert held["email"] == held["key"] == held["site"]
        found.add(held["key"])
    for left in path.parent.iterdir():
        assert left.stat().st_mode & 0o077 == 0
        if left != path:
            torn += 1
            left.unlink()
print(f"{len(found)} different files, {torn} of 200 kills in the midst of writing one")
"""


@pytest.mark.slow
def test_a_kill_at_any_point_leaves_the_old_file_or_the_new_one(
    path: Path, record_property: Any
) -> None:
    command = [sys.executable, "-c", KILL_200_TIMES, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record_property("killed", done.stdout.strip())
    different, torn = re.findall("[0-9]+", done.stdout)[:2]
    assert int(different) > 50
    assert int(torn) > 20
