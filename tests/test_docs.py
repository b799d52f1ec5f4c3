"""Run the code blocks of the README and the pages in docs/, and check their tables and links.

The stand-in server replaces chat.example.com and localhost:9991. The language of a block decides
what happens with it:

- `python` is executed, with the names of the first block of its page and no others. The blocks
  of a page share one event loop, and may use `await`. Each can be pasted into `python -m asyncio`.
- `python` with a function `test_…` is a test of the reader. All such blocks of a page are one file
  that pytest runs, with the page's `toml` block as its configuration.
- `sh` has one command on each line, from one of the tables below.
- `text` after an executed block is its output; without one, the output must be empty.
- `ini` is a zuliprc, and is loaded.

There is no other language.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import tomllib
from codeop import CommandCompiler
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import reference
from attrs import define, field, frozen
from screenshots import PASSWORD, SITE, USERNAME, run_in_pty

import zulip_auth
import zulip_auth.aiohttp_auth
import zulip_auth.httpx2_auth
import zulip_auth.httpx_auth
import zulip_auth.testing
from helpers.pytest_run import run_pytest
from zulip_auth._cli import main
from zulip_auth.testing import ExternalMethod, FakeZulip

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# tests/test_testing_program.py and tests/interop run the commands and the JavaScript.
NOT_EXECUTED = ("text", "toml", "console", "javascript", "systemd", "yaml")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
# Written pages. Those in docs/reference are generated.
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *DOCS.glob("*.md")]
}
ALL_PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "examples" / "README.md"]
}
FENCE_RE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SITE_RE = re.compile(r"(https?://)?(chat\.example\.com|localhost:9991)")
JWT_KEY = "a key of at least thirty-two characters"

# The step of CI that runs the command, or the same with other arguments.
RUN_BY_CI = {
    "make demo": "step make demo",
    "make test": "step make test",
    "make check": "step make check",
    "make generate": "step make check",  # generates into another directory and compares
    "make generators": "step make generators",
    "make upstream-diff UPSTREAM=path/to/zulip.yaml": "step make upstream-diff UPSTREAM=",
    "python3 -m venv .venv": "    python3 -m venv .venv\n",
    ". .venv/bin/activate": "    . .venv/bin/activate\n",
    "pip install .": "    pip --quiet install .\n",
    "pip install '.[aiohttp]'": "    pip --quiet install '.[aiohttp]'\n",
    "pip install '.[testing]'": "    pip --quiet install '.[testing]'\n",
    "uv venv": "    uv venv --quiet --clear\n",
    "uv pip install .": "    uv pip --quiet install .\n",
    "pipx install .": " pipx install .\n",
}
# Commands that run here, with the input for each prompt.
RUN_HERE: dict[str, dict[str, str]] = {
    f"zulip-auth login chat.example.com {USERNAME}": {"Password": PASSWORD},
    f'printf %s "$ZULIP_PASSWORD" | zulip-auth login chat.example.com {USERNAME} '
    "--password-stdin --json": {},
    f"zulip-auth login chat.example.com {USERNAME} --password-command 'cat secrets/zulip'": {},
    f"zulip-auth login localhost:9991 {USERNAME} --dev": {},
    f"zulip-auth login chat.example.com {USERNAME} --bot Helper --config helper.zuliprc": {
        "Password": PASSWORD
    },
    f"zulip-auth login chat.example.com {USERNAME} --api-key-stdin < key": {},
    "zulip-auth whoami": {},
    "zulip-auth bots": {},
    "zulip-auth api-key": {},
    "zulip-auth logout": {},
    "zulip-auth completion bash > ~/.zulip-auth-completion": {},
    "echo '. ~/.zulip-auth-completion' >> ~/.bashrc": {},
}


@frozen
class CodeBlock:
    language: str
    code: str
    line: int

    @property
    def is_test(self) -> bool:
        return self.language == "python" and "def test_" in self.code


def written_text(page: str) -> str:
    """Return a page without its generated regions, but with the same lines."""
    return re.sub(
        r"(?<=<!-- begin: ).*?(?=<!-- end -->)",
        lambda match: "\n" * match[0].count("\n"),
        PAGES[page].read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )


def blocks_of(page: str) -> list[CodeBlock]:
    text = written_text(page)
    return [
        CodeBlock(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in FENCE_RE.finditer(text)
    ]


BLOCKS = {page: blocks_of(page) for page in PAGES}


@define
class PageRunner:
    """Run the blocks of a page, from top to bottom."""

    page: str
    server: FakeZulip
    home: Path
    runner: asyncio.Runner
    names: dict[str, Any] = field(factory=dict)  # of the first block in Python

    def run_block(self, block: CodeBlock) -> str:
        """Run one block and return its output."""
        source = f"{self.page}, line {block.line}"
        if block.language == "sh":
            for command in block.code.splitlines():
                self.run_command(command)
            return ""
        if block.language == "ini":
            path = self.home / "loaded-zuliprc"
            path.touch(0o600)
            path.write_text(block.code)
            assert zulip_auth.Credentials.load(path).site == SITE
            return ""
        assert block.language == "python", source
        return self.execute(block, source)

    def run_command(self, command: str) -> None:
        if command in RUN_BY_CI:
            assert RUN_BY_CI[command] in CI
            return
        inputs, arguments = RUN_HERE[command], shlex.split(SITE_RE.sub(self.server.site, command))
        if arguments[0] == "zulip-auth" and not inputs and not {"|", "<", ">"} & {*arguments}:
            assert main(arguments[1:]) == 0, command
            return
        # The output has prompts; the screenshots show it.
        code, output = run_in_pty(command, inputs, site=self.server.site, home=self.home)
        assert code == 0, output

    def execute(self, block: CodeBlock, source: str) -> str:
        text = "\n" * block.line + SITE_RE.sub(self.server.site, block.code)
        flags, names = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, {**self.names}
        code = compile(text, source, "exec", flags, dont_inherit=True)
        with redirect_stdout(StringIO()) as output:
            if code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(eval(code, names))
            else:
                exec(code, names)
        self.names = self.names or names
        return output.getvalue().replace(self.server.site, SITE)


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    with FakeZulip(users={USERNAME: PASSWORD}) as server:
        server.realm.jwt_key = JWT_KEY
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        yield server


@pytest.fixture
def home(server: FakeZulip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and working directory, with a password in a file and the zuliprc of a bot."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "EMAIL", "API_KEY", "SITE", "CERT_BUNDLE"):
        monkeypatch.delenv(f"ZULIP_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "zulip").write_text(f"{PASSWORD}\n")
    (tmp_path / "secrets" / "jwt").write_text(f"{JWT_KEY}\n")
    (tmp_path / "key").write_text(server.account(USERNAME).api_key)
    server.add_bot(USERNAME, "Helper")
    bot = server.add_user("greeter-bot@chat.example.com", "unused")
    zulip_auth.Credentials(server.site, bot.email, bot.api_key).save(tmp_path / "zuliprc")
    return tmp_path


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who types the password, logs in with a browser and pastes the redirect URL."""
    redirects: list[str] = []

    def log_in(url: str) -> None:
        response = httpx.get(url, params={**httpx.URL(url).params, "email": USERNAME})
        redirects.append(response.headers["location"])

    monkeypatch.setattr("getpass.getpass", lambda: PASSWORD)
    monkeypatch.setattr("webbrowser.open", log_in)
    monkeypatch.setattr("builtins.input", lambda prompt: redirects.pop())


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]])
@pytest.mark.usefixtures("person")
def test_doc_blocks(page: str, server: FakeZulip, home: Path) -> None:
    blocks = BLOCKS[page]
    executed = [
        block for block in blocks if block.language not in NOT_EXECUTED and not block.is_test
    ]
    expected = {
        id(block): following.code
        for block, following in pairwise(blocks)
        if following.language == "text"
    }
    assert len(expected) == [block.language for block in blocks].count("text")
    assert set(expected) <= {id(block) for block in executed if block.language == "python"}
    with asyncio.Runner() as runner:
        page_runner = PageRunner(page, server, home, runner)
        for block in executed:
            output = page_runner.run_block(block)
            assert output == expected.get(id(block), ""), f"{page}, line {block.line}"


def samples_of(page: str) -> list[CodeBlock]:
    return [block for block in BLOCKS[page] if block.language == "python" and not block.is_test]


SAMPLES = [(page, block) for page in PAGES for block in samples_of(page)]


@pytest.mark.parametrize(
    ("page", "block"), SAMPLES, ids=[f"{page}:{block.line}" for page, block in SAMPLES]
)
def test_sample_can_be_pasted(page: str, block: CodeBlock) -> None:
    """Into `python`, with the whole scripts of the README, or else into `python -m asyncio`."""
    compiler = CommandCompiler()
    if page != "README.md":
        compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        assert "\nasyncio.run(" not in f"\n{block.code}"  # in a running event loop
    statement: list[str] = []
    for line in [*block.code.splitlines(), ""]:
        statement.append(line)
        if compiler("\n".join(statement)):  # else the prompt is `...`
            statement.clear()
    assert statement == []


@pytest.mark.usefixtures("home")
def test_error_sample_without_retry_after(server: FakeZulip) -> None:
    with asyncio.Runner() as runner:
        page_runner = PageRunner("docs/errors.md", server, Path(), runner)
        server.fail_next("/api/v1/fetch_api_key", status=429, json={"code": "RATE_LIMIT_HIT"})
        assert page_runner.run_block(samples_of("docs/errors.md")[0]) == "Locked for 60 s.\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.is_test for block in BLOCKS[page])]
)
def test_doc_blocks_with_tests(page: str, tmp_path: Path) -> None:
    blocks = BLOCKS[page]
    tests = "\n".join(block.code for block in blocks if block.is_test)
    (tmp_path / "test_page.py").write_text(tests)
    toml = "".join(block.code for block in blocks if block.language == "toml")
    (tmp_path / "pyproject.toml").write_text(toml)
    output = run_pytest(tmp_path)
    assert f"{tests.count('def test_')} passed" in output, output


# ---- The README


def test_readme_python_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert f"| Python | {', '.join(versions)} " in PAGES["README.md"].read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    matrix = re.findall(r"python: \[(.*)\]", workflow)[0].replace('"', "").split(", ")
    assert set(versions) <= set(matrix)


# ---- Names and links


def every_error() -> set[str]:
    return {name for name in zulip_auth.__all__ if name.endswith("Error")} - {"ZulipAuthError"}


def test_reference_has_each_public_name() -> None:
    names = [name for page in reference.PAGES.values() for name in page.names]
    public = [f"zulip_auth.{name}" for name in zulip_auth.__all__]
    public += [f"zulip_auth.testing.{name}" for name in zulip_auth.testing.__all__]
    public += [
        f"{module.__name__}.{name}"
        for module in (zulip_auth.httpx_auth, zulip_auth.httpx2_auth, zulip_auth.aiohttp_auth)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    assert sorted(names) == sorted([*public, "zulip_auth._pytest_plugin.fake_zulip"])


PYTHONS_OWN = (
    "'await' outside function",
    "<coroutine object login at",
    "was never awaited",
    "'coroutine' object has no attribute 'email'",
    "asyncio.run() cannot be called from a running event loop",
    "missing 1 required positional argument",
    "No module named",
    "connection refused",
    "externally-managed-environment",
)


def test_messages_in_troubleshooting_exist() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "zulip_auth").rglob("*.py")]
    recorded = (ROOT / "tests" / "data" / "messages.md").read_text(encoding="utf-8")
    # Adjacent literals are one, and a value may be anything.
    code = re.sub(r'"\s*f?"', "", "\n".join(sources))
    known = recorded + re.sub(r"{[^{}\n]*}", "…", code)
    text = PAGES["docs/troubleshooting.md"].read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 40
    for message in messages:
        if not any(part in message for part in PYTHONS_OWN):
            parts = [part.strip() for part in message.split("…")]
            # The name of an argument is a value.
            assert all(p in known or f"… {p.partition(' ')[2]}" in known for p in parts), message


def test_errors_in_pages_exist() -> None:
    known = every_error() | {"ZulipAuthError", "ValueError", "TypeError", "TimeoutError"}
    known |= {
        "CodedError",
        "KeyError",
        "ModuleNotFoundError",
        "OSError",
        "RuntimeError",
        "SyntaxError",
    }
    for page, path in ALL_PAGES.items():
        if page not in ("CHANGELOG.md", "CONTRIBUTING.md"):  # which has one to add
            named = set(re.findall(r"`(\w+Error)\b", path.read_text(encoding="utf-8")))
            assert named <= known, page


def anchors_of(text: str) -> set[str]:
    """Return the anchors of the headings, as a repository view computes them."""
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", rest, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_work_in_a_repository_view(page: str) -> None:
    """Sphinx checks the same links for the site, in `make docs`."""
    path = ALL_PAGES[page]
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"--8<--|^:::|\]\[\w|^```\{", text, re.MULTILINE)
    assert not re.search(r"\[[^\]]+\]\[[^\]]*\]", prose)
    for target, anchor in re.findall(r"\]\(\s*(?!https?:)([^)#\s]*)(?:#([^)\s]+))?\s*\)", text):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{page}: {target}"
        if anchor:
            anchors = anchors_of(linked.read_text(encoding="utf-8"))
            assert anchor in anchors, f"{page}: {target}#{anchor}"
