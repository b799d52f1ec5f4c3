"""Start a headless Chromium that reaches only this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "needs Chromium and its driver: apt-get install chromium chromium-driver"


def is_installed() -> bool:
    """Return whether there are a browser and its driver."""
    return bool(CHROMIUM and DRIVER)


@contextmanager
def run_chromium(profile: Path, **logs: str) -> Iterator[Any]:
    """Run a browser.

    Args:
        profile: Directory for its profile.
        logs: Levels of its logs, such as `performance="ALL"`.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "headless=new",
        "no-sandbox",  # root cannot have a sandbox, and containers often do not
        "disable-dev-shm-usage",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", logs)
    # With both paths given, selenium looks for nothing to download.
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
