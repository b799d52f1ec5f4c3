"""Configure the documentation site (`make docs`).

Sphinx reads the pages from the root of the repository, so that a link leads to the same page on
the site and in a view of the repository. Text that comes from the code is written into the pages
by `make pages`.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import reference  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
URLS = PROJECT.get("urls", {})

project = "zulip-auth"
author = PROJECT["authors"][0]["name"]
release = re.findall(r'__version__ = "(.+)"', (ROOT / "zulip_auth" / "_version.py").read_text())[0]

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "examples/README.md"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # the reference has no level between page and name
copybutton_selector = ":is(.highlight-ini, .highlight-python, .highlight-sh, .highlight-toml) pre"
pygments_style = "default"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = f"zulip-auth {release}"
smartquotes_action = "qe"  # quotes and ellipses; "--" may be part of an option
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_baseurl = URLS.get("Documentation", "")
html_additional_pages = {"404": "404.html"}
templates_path = ["_templates"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_theme_options: dict[str, Any] = {
    "top_of_page_buttons": ["view", "edit"] if "Repository" in URLS else [],
}
if "Repository" in URLS:
    html_theme_options |= {
        "source_repository": URLS["Repository"],
        "source_branch": "main",
        "source_directory": "",
    }

# The navigation. A view of the repository has the table in README.md instead.
NAVIGATION = {
    "Guide": [
        "docs/first-steps",
        "docs/command-line",
        "docs/bot-frameworks",
        "docs/keys",
        "docs/errors",
        "docs/troubleshooting",
        "docs/retries",
        "docs/testing",
        "docs/deployment",
        "docs/fleets",
        "docs/coming-from-zulip",
        "docs/generated-client",
        "examples/README",
    ],
    "Reference": [
        "docs/reference/client",
        "docs/reference/keys",
        "docs/reference/exceptions",
        "docs/reference/testing",
        "docs/environments",
        "docs/servers",
    ],
    "Project": [
        "docs/upgrading",
        "docs/architecture",
        "docs/regenerating",
        "SECURITY",
        "CONTRIBUTING",
        "CHANGELOG",
        "RELEASING",
        "CODE_OF_CONDUCT",
        *([f"Repository <{URLS['Repository']}>"] if "Repository" in URLS else []),
    ],
}

# Anything but a link, and what names the address of the page itself.
_EXTERNAL_RE = re.compile(
    r'<(?!a |base |link rel="canonical")[a-z]+ [^>]*(?:src|href)="?(?:https?:)?//', re.IGNORECASE
)


# Words that people search for, and the page that is listed first for them.
SEARCHED = {
    "docs/first-steps": ("login", "log in", "password", "install", "zuliprc"),
    "docs/command-line": ("cli", "shell", "sso"),
    "docs/bot-frameworks": ("bot",),
    "docs/keys": ("api key", "keyring"),
    "docs/errors": ("error",),
    "docs/retries": ("429", "rate limit", "timeout"),
    "docs/troubleshooting": ("problem", "help", "certificate", "proxy", "ssl", "tls"),
    "docs/deployment": ("docker", "container", "systemd", "ssh", "wsl"),
    "docs/coming-from-zulip": ("zulip", "migrate"),
    "docs/reference/exceptions": ("exception",),
}


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the navigation to the first page, and index entries to the others."""
    for word in SEARCHED.get(docname, ()):
        source[0] += f"\n```{{index}} ! {word}\n```\n"
    if docname == root_doc:
        for caption, pages in NAVIGATION.items():
            toctree = "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages])
            source[0] += f"\n{toctree}\n```\n"


def add_objects(app: Sphinx, doctree: nodes.document) -> None:
    """Enter the names of the reference into the inventory, to which other projects can link."""
    directory, _, page = app.env.docname.rpartition("/")
    if directory != "docs/reference":
        return
    names = reference.headings(page)
    for section in doctree.findall(nodes.section):
        name = names.get(section[0].astext(), "")
        if name and "._" not in name.removesuffix(".__version__"):
            python = app.env.domains.python_domain
            python.note_object(name, kind_of(name), section["ids"][0], location=section)


def kind_of(name: str) -> str:
    """Return the type of an object, as the inventory spells it."""
    value = resolve_name(name)
    if inspect.isclass(value):
        return "exception" if issubclass(value, Exception) else "class"
    if inspect.isclass(resolve_name(name.rpartition(".")[0])):
        return "method" if callable(value) else "attribute"
    return "function" if callable(value) else "data"


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write index.html, and fail if a page loads anything from another host."""
    if exception is not None:
        return
    site = Path(app.outdir)
    shutil.copy(site / f"{root_doc}.html", site / "index.html")
    for page in site.rglob("*.html"):
        if found := _EXTERNAL_RE.search(page.read_text(encoding="utf-8")):
            raise ExtensionError(f"{page} loads something from another host: {found[0]}")


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", add_objects)
    app.connect("build-finished", finish)
