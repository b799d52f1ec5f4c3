"""The pages say what is so: each of their code blocks is run, each of their tables is complete.

The README and the pages in docs/ are taken as they stand, with the stand-in server in the place
of chat.example.com and localhost:9991. What a block's language says about it:

- `python` is run. The blocks of a page share their names and one event loop, and may `await`.
- `python` with a function `test_…` is a test of the reader's own. All of a page's make one file
  that pytest runs, with what the page has as `toml` for its configuration.
- `sh` is one command on each line, which stands in one of the tables below.
- `text` right after a block that is run is what it prints; without one, it must print nothing.
- `ini` is a zuliprc, and is loaded.

There is no other language, and no block that is only looked at.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from attrs import define, frozen
from screenshots import PASSWORD, SCENES, SITE, USERNAME, run_on_a_terminal, screenshot

import zulip_auth
import zulip_auth.aiohttp_auth
import zulip_auth.httpx2_auth
import zulip_auth.httpx_auth
import zulip_auth.testing
from zulip_auth.testing import ExternalMethod, FakeZulip

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *DOCS.rglob("*.md")]
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = re.compile(r"(https?://)?(chat\.example\.com|localhost:9991)")
JWT_KEY = "a key of at least thirty-two characters"

# Which step of CI runs it, or the same with other arguments.
RUN_BY_CI = {
    "make demo": "step make demo",
    "make test": "step make test",
    "make check": "step make check",
    "make generate": "step make check",  # which generates elsewhere, and compares
    "make upstream-diff UPSTREAM=path/to/zulip.yaml": "step make upstream-diff UPSTREAM=",
    "python -m pip install .": "-m pip --quiet install .\n",
    "python -m pip install '.[aiohttp]'": "-m pip --quiet install '.[aiohttp]'\n",
    "python -m pip install '.[testing]'": "-m pip --quiet install '.[testing]'\n",
}
# What is run here, and what is typed after which prompt.
RUN_HERE: dict[str, dict[str, str]] = {
    f"zulip-auth login chat.example.com {USERNAME}": {"Password": PASSWORD},
    f'printf %s "$ZULIP_PASSWORD" | zulip-auth login chat.example.com {USERNAME} '
    "--password-stdin --json": {},
    f"zulip-auth login chat.example.com {USERNAME} --password-command 'cat secrets/zulip'": {},
    f"zulip-auth login localhost:9991 {USERNAME} --dev": {},
    "zulip-auth whoami": {},
    "zulip-auth logout": {},
    "zulip-auth completion bash > ~/.zulip-auth-completion": {},
    "echo '. ~/.zulip-auth-completion' >> ~/.bashrc": {},
}


@frozen
class Block:
    language: str
    code: str
    line: int


def blocks_of(page: str) -> list[Block]:
    text = PAGES[page].read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


BLOCKS = {page: blocks_of(page) for page in PAGES}


@define
class Reader:
    """Does what a page says, from top to bottom."""

    page: str
    server: FakeZulip
    home: Path
    names: dict[str, Any]
    runner: asyncio.Runner

    def do(self, block: Block) -> str:
        """Do what one block says, and return what it wrote."""
        where = f"{self.page}, line {block.line}"
        if block.language == "sh":
            return "".join(map(self.run, block.code.splitlines()))
        if block.language == "ini":
            path = self.home / "zuliprc"
            path.touch(0o600)
            path.write_text(block.code)
            assert zulip_auth.Credentials.load(path).site == SITE
            return ""
        assert block.language == "python", where
        return self.execute(block, where)

    def run(self, command: str) -> str:
        if command in RUN_BY_CI:
            assert RUN_BY_CI[command] in CI
            return ""
        code, shown = run_on_a_terminal(
            command, RUN_HERE[command], site=self.server.site, home=self.home
        )
        assert code == 0, shown
        return ""  # a terminal shows prompts, too; the screenshots have them

    def execute(self, block: Block, where: str) -> str:
        source = "\n" * block.line + NAMES.sub(self.server.site, block.code)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, where, "exec", flags, dont_inherit=True)
        with redirect_stdout(StringIO()) as written:
            if code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(eval(code, self.names))
            else:
                exec(code, self.names)
        return written.getvalue().replace(self.server.site, SITE)


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        server.realm.jwt_key = JWT_KEY
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the home and the working directory, with a password in a file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "EMAIL", "API_KEY", "SITE", "CERT_BUNDLE"):
        monkeypatch.delenv(f"ZULIP_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "zulip").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who logs in with a browser, and pastes the address that it ends at."""
    ended_at: list[str] = []

    def log_in(url: str) -> None:
        answer = httpx.get(url, params={**httpx.URL(url).params, "email": USERNAME})
        ended_at.append(answer.headers["location"])

    monkeypatch.setattr("webbrowser.open", log_in)
    monkeypatch.setattr("builtins.input", lambda prompt: ended_at.pop())


def is_a_test(block: Block) -> bool:
    return block.language == "python" and "def test_" in block.code


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_seen_here(page: str) -> None:
    rest = FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))
    assert not re.search(r"```|~~~|<pre", rest)
    assert not re.search(r"^\s*\n(?: {4}|\t)", rest, re.MULTILINE)  # which is a block, too


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]])
@pytest.mark.usefixtures("browser")
def test_what_a_page_shows_is_so(page: str, server: FakeZulip, home: Path) -> None:
    blocks = BLOCKS[page]
    given = {"password": PASSWORD, "token": jwt.encode({"email": USERNAME}, JWT_KEY, "HS256")}
    doing = [
        each for each in blocks if each.language not in ("text", "toml") and not is_a_test(each)
    ]
    expected = {id(do): then.code for do, then in pairwise(blocks) if then.language == "text"}
    assert len(expected) == [each.language for each in blocks].count("text")
    assert set(expected) <= {id(each) for each in doing if each.language == "python"}
    with asyncio.Runner() as runner:
        reader = Reader(page, server, home, given, runner)
        for block in doing:
            assert reader.do(block) == expected.get(id(block), ""), f"{page}, line {block.line}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_a_test, BLOCKS[page]))])
def test_what_a_page_shows_as_tests_passes(page: str, tmp_path: Path) -> None:
    blocks = BLOCKS[page]
    tests = "\n".join(block.code for block in blocks if is_a_test(block))
    (tmp_path / "test_page.py").write_text(tests)
    toml = "".join(block.code for block in blocks if block.language == "toml")
    (tmp_path / "pyproject.toml").write_text(toml)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"{tests.count('def test_')} passed" in done.stdout, done.stdout + done.stderr


def test_configuration_stands_only_on_pages_with_tests() -> None:
    for page in PAGES:
        languages = [block.language for block in BLOCKS[page]]
        assert "toml" not in languages or any(map(is_a_test, BLOCKS[page]))


# ---- What the pages say of the code


def test_what_to_do_is_said_of_each_error() -> None:
    text = PAGES["docs/errors.md"].read_text(encoding="utf-8").partition("## What to do\n")[2]
    told = re.findall(r"^\| `(\w+Error)` \| \S", text, re.MULTILINE)
    assert sorted(told) == sorted(every_error())


def every_error() -> set[str]:
    return {name for name in zulip_auth.__all__ if name.endswith("Error")} - {"ZulipAuthError"}


def test_the_reference_has_every_public_name_once() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")]
    told = re.findall(r"^::: ([\w.]+)$", "\n".join(pages), re.MULTILINE)
    public = [f"zulip_auth.{name}" for name in zulip_auth.__all__]
    public += [f"zulip_auth.testing.{name}" for name in zulip_auth.testing.__all__]
    public += [
        f"{module.__name__}.{name}"
        for module in (zulip_auth.httpx_auth, zulip_auth.httpx2_auth, zulip_auth.aiohttp_auth)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    assert sorted(told) == sorted([*public, "zulip_auth._pytest_plugin.fake_zulip"])


def test_every_error_that_a_page_names_exists() -> None:
    known = every_error() | {
        "ZulipAuthError",
        "RuntimeError",
        "TimeoutError",
        "TypeError",
        "ValueError",
    }
    for page, path in PAGES.items():
        named = set(re.findall(r"`(\w+Error)\b", path.read_text(encoding="utf-8")))
        assert named <= known, page


def test_every_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    texts = [contributing, *(path.read_text(encoding="utf-8") for path in PAGES.values())]
    for target in re.findall(r"(?:^|`)make ([\w-]+)", "\n".join(texts), re.MULTILINE):
        assert f"\n{target}:" in makefile


# ---- Screenshots


def test_each_screenshot_has_its_place() -> None:
    text = PAGES["docs/command-line.md"].read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(images/cli-([\w-]+)\.svg\)", text)) == sorted(SCENES)


def test_a_screenshot_shows_what_the_command_wrote() -> None:
    svg = screenshot("login")
    shown = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert f"$ zulip-auth login chat.example.com {USERNAME}" in shown
    assert f"Logged in to {SITE} as {USERNAME}" in shown
    assert PASSWORD not in shown
    assert "url(" not in svg.replace("url(#", "")  # it loads nothing


def test_a_screenshot_of_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCENES, "login", replace(SCENES["login"], commands=("echo no",)))
    with pytest.raises(ValueError, match="does not show"):
        screenshot("login")


def test_a_command_that_asks_too_much_is_hung_up_on(
    server: FakeZulip, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screenshots.SECONDS", 0)
    with pytest.raises(TimeoutError):
        run_on_a_terminal("cat", {}, site=server.site, home=home)


def test_a_failure_on_a_terminal_is_seen(server: FakeZulip, home: Path) -> None:
    assert run_on_a_terminal("echo no; exit 3", {}, site=server.site, home=home) == (3, "no\n")
