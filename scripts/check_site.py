"""Check the built site (`make docs`): its inventory, and with Chromium its links and widths."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import chromium
from sphinx.util.inventory import InventoryFile

import zulip_auth

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
PAGES = [
    path.relative_to(ROOT).with_suffix(".html").as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples" / "README.md"]
]
PHONE = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
# The first result of a search.
SEARCHES = {
    "login": "docs/first-steps.html",
    "zuliprc": "docs/first-steps.html",
    "error": "docs/errors.html",
    "429": "docs/retries.html",
    "certificate": "docs/troubleshooting.html",
    "docker": "docs/deployment.html",
}

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


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serve() -> Iterator[str]:
    """Serve the site on this machine, and yield its URL."""
    handler = partial(_SilentHandler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def check_inventory() -> None:
    """Check that other projects can link to each name, and that each can be imported."""
    stream: Any = BytesIO((SITE / "objects.inv").read_bytes())
    inventory = InventoryFile.load(stream, "", urljoin)
    names = {name for kind, items in inventory.items() if kind != "std:doc" for name in items}
    names = {name for name in names if name.startswith("zulip_auth.")}
    assert {f"zulip_auth.{name}" for name in zulip_auth.__all__} <= names
    for name in names:
        pkgutil.resolve_name(name)


def check_pages(site: str, browser: Any) -> None:
    """Follow every link of every page, on a phone. Links to other hosts are not followed."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    waiting, pages = [site, f"{site}404.html"], {}
    while waiting:
        url = waiting.pop()
        browser.get(url)
        page = pages[url] = browser.execute_script(INSPECT)
        assert page["width"] == 0, f"{url} is wider than the window: {page['overflowing']}"
        assert page["overflowing"] == [], (url, page["overflowing"])
        assert page["broken"] == [], (url, page["broken"])
        for link in page["links"]:
            target = urldefrag(link)[0]
            internal = target.startswith(site) and "/_" not in target
            if internal and target not in pages and target not in waiting:
                waiting.append(target)
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == [], errors

    for url, page in pages.items():
        for link in page["links"]:
            target, anchor = urldefrag(link)
            if target in pages and anchor:
                assert unquote(anchor) in pages[target]["ids"], f"{url} links to {link}"
    missing = {*PAGES} - {url.removeprefix(site) for url in pages}
    assert not missing, f"no links lead to {missing}"
    titles = [page["title"] for url, page in pages.items() if url != site]
    assert len(titles) == len(set(titles)), sorted(titles)


def check_search(site: str, browser: Any) -> None:
    """Check the first result of a few searches."""
    from selenium.webdriver.support.wait import WebDriverWait

    for text, page in SEARCHES.items():
        browser.get(f"{site}search.html?q={text}")
        found = WebDriverWait(browser, 30).until(
            lambda driver: driver.find_elements("css selector", "#search-results li > a")
        )
        link = found[0].get_attribute("href")
        assert link.startswith(site + page), f"a search for {text} finds {link}"


def main() -> None:
    """Check the site; without Chromium, the inventory only."""
    check_inventory()
    if not chromium.is_installed():
        print(f"The pages are not checked: this {chromium.MISSING}.", file=sys.stderr)
        return
    with (
        serve() as site,
        TemporaryDirectory() as profile,
        chromium.run_chromium(Path(profile), browser="ALL") as browser,
    ):
        check_pages(site, browser)
        check_search(site, browser)


if __name__ == "__main__":
    main()
