"""A pytest plugin that puts httpx2 in place of httpx: `make test-httpx2`."""

import httpx2
import pytest

DIFFERENT = {
    "test_ca_certificates_are_loaded_once": "httpx2 uses the certificates of the system",
    "test_it_works_in_one_event_loop_after_another": "anyio warns of a connect task that a "
    "closed loop never started; httpcore2 has fewer awaits before it",
}

httpx2.alias_httpx()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests with another result under httpx2."""
    for item in items:
        if reason := DIFFERENT.get(item.name):
            item.add_marker(pytest.mark.skip(reason=reason))
