"""Click through the documentation site with a real browser."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin
from urllib.request import urlopen

import pytest
from sphinx.util.inventory import InventoryFile

import zulip_auth
from helpers.chromium import needs_chromium, run_chromium

ROOT = Path(__file__).parent.parent
PAGES = [
    path.relative_to(ROOT).with_suffix(".html").as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples" / "README.md"]
]

# Everything on a page that is of interest here, in one call.
INSPECT = """
const root = document.documentElement;
// Tables and code scroll by themselves; the article, in a container that could, must not.
const overflowing = [...document.querySelectorAll("article *")].filter(element => {
    for (let parent = element; parent.tagName !== "ARTICLE"; parent = parent.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(parent).overflowX)) return false;
    return element.getBoundingClientRect().right > root.clientWidth + 1;
});
return {
    title: document.title,
    width: root.scrollWidth - root.clientWidth,
    overflowing: overflowing.map(element => element.outerHTML.slice(0, 200)),
    links: [...document.querySelectorAll("a[href]")].map(link => link.href),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
};
"""


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the built site, on a server of this machine."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning"]
    subprocess.run([*command, "-c", "docs", ".", str(directory)], cwd=ROOT, check=True)
    handler = partial(SilentHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with run_chromium(tmp_path_factory.mktemp("chromium"), browser="ALL") as driver:
        yield driver


@pytest.mark.slow
@needs_chromium
@pytest.mark.xdist_group("site")
def test_pages_in_chromium(site: str, browser: Any) -> None:
    """Follow every link of every page. Links to other hosts are not followed."""
    metrics = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}  # a phone
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get_log("browser")  # that of a search which another test has left
    waiting, pages = [site, f"{site}404.html"], {}
    while waiting:
        url = waiting.pop()
        browser.get(url)
        page = pages[url] = browser.execute_script(INSPECT)
        assert page["width"] == 0, f"{url} is wider than the window: {page['overflowing']}"
        assert page["overflowing"] == [], url
        assert page["broken"] == [], url
        for link in page["links"]:
            target = urldefrag(link)[0]
            internal = target.startswith(site) and "/_" not in target
            if internal and target not in pages and target not in waiting:
                waiting.append(target)
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []

    for url, page in pages.items():
        for link in page["links"]:
            target, anchor = urldefrag(link)
            if target in pages and anchor:
                assert unquote(anchor) in pages[target]["ids"], f"{url} links to {link}"
    assert {url.removeprefix(site) for url in pages} >= set(PAGES)
    titles = [page["title"] for url, page in pages.items() if url != site]
    assert len(titles) == len(set(titles)), sorted(titles)


@pytest.mark.slow
@needs_chromium
@pytest.mark.xdist_group("site")
@pytest.mark.parametrize(
    ("text", "page"), [("login", "docs/first-steps.html"), ("docker", "docs/deployment.html")]
)
def test_search_in_chromium(text: str, page: str, site: str, browser: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(f"{site}search.html?q={text}")
    found = WebDriverWait(browser, 30).until(
        lambda driver: driver.find_elements("css selector", "#search-results li > a")
    )
    assert found[0].get_attribute("href").startswith(site + page)


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_inventory(site: str) -> None:
    """Other projects can link to each name, and each can be imported."""
    with urlopen(f"{site}objects.inv") as response:
        inventory = InventoryFile.load(response, site, urljoin)
    names = {name for kind, items in inventory.items() if kind != "std:doc" for name in items}
    names = {name for name in names if name.startswith("zulip_auth.")}
    assert {f"zulip_auth.{name}" for name in zulip_auth.__all__} <= names
    for name in names:
        pkgutil.resolve_name(name)
