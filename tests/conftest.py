from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keyring
import pytest
from hypothesis import settings

from helpers.cli_runner import CLIRunner, InMemoryKeyring
from helpers.constants import PASSWORD, USERNAME
from zulip_auth import RetryPolicy
from zulip_auth.testing import FakeZulip

if TYPE_CHECKING:
    import trustme

    from helpers.caller import Organization

# A login takes a few milliseconds, more on a busy machine.
settings.register_profile("default", deadline=None, max_examples=50)
settings.load_profile("default")

# The environment of a developer's machine must not change the tests.
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
        del os.environ[name]

# Subprocesses are tested for their output, to which asyncio's development
# mode adds warnings on slow machines.
os.environ.pop("PYTHONDEVMODE", None)

# A developer's own logins must not receive what tests send.
os.environ.pop("XDG_RUNTIME_DIR", None)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that start a command, which has a home directory, as slow."""
    if "home" in getattr(item, "fixturenames", ()):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no process waits for one in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Keep collected tests and imported modules out of later garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the measurements that tests recorded."""
    measured = [
        f"{report.nodeid.partition('::')[2]}: {name}: {value}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(measured)))


@pytest.fixture(scope="session", autouse=True)
def coverage_config() -> str | None:
    """Do not measure the processes that tests start: it costs each of them 0.2 s."""
    return os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> None:
    """Let signals end subprocesses, also those that a shell or nohup ignores for its children."""
    for signum, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, handler)


@pytest.fixture
def measured_subprocesses(coverage_config: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure them, for lines that cannot run in this process."""
    if coverage_config is not None:
        monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", coverage_config)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server(fake_zulip: FakeZulip) -> FakeZulip:
    """A running FakeZulip with one account."""
    fake_zulip.add_user(USERNAME, PASSWORD)
    return fake_zulip


@pytest.fixture
def org() -> Iterator[Organization]:
    from helpers.caller import Organization  # whose TLS context is not for WebAssembly

    with FakeZulip() as server, ExitStack() as stack:
        yield Organization(server, stack)


@pytest.fixture(scope="session")
def test_ca() -> trustme.CA:
    import trustme  # not on WebAssembly, see scripts/test_pyodide.mjs

    return trustme.CA()


@pytest.fixture
def fresh_certificates() -> Iterator[None]:
    """The default TLS context is made in the test, and not kept."""
    from zulip_auth._http import _default_ssl_context

    _default_ssl_context.cache_clear()
    yield
    _default_ssl_context.cache_clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a zuliprc that does not exist."""
    return tmp_path / "zuliprc"


@pytest.fixture
def home(tmp_path: Path) -> CLIRunner:
    return CLIRunner(tmp_path)


@pytest.fixture
def cli(tmp_path: Path) -> CLIRunner:
    """The command line, with a home directory of its own, to run in this process."""
    return CLIRunner(tmp_path)


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as a desktop has one for each user: XDG_RUNTIME_DIR."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture
def memory() -> Iterator[InMemoryKeyring]:
    """The system's keyring, replaced by one in memory."""
    previous = keyring.get_keyring()
    memory = InMemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(previous)


@pytest.fixture
def no_backoff() -> RetryPolicy:
    """The default policy without delays."""
    return RetryPolicy(wait_initial=0, wait_max=0)
