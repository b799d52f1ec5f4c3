"""The endpoints of the stand-in server."""

from __future__ import annotations

import pathlib
import re

from starlette.routing import Route

from zulip_auth.testing import FakeZulip
from zulip_auth.testing.endpoints.unserved import reject
from zulip_auth.testing.http import Path

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "testing.md"


def test_documented_endpoints() -> None:
    routes = set()
    for route in FakeZulip().app.routes:
        assert isinstance(route, Route)
        if isinstance(route.endpoint, Path):
            path = re.sub(r":\w+}", "}", route.path).replace("_}", "}")
            served = route.endpoint.endpoints.items()
            routes |= {f"{m} {path}" for m, e in served if e.handler is not reject}
    table = PAGE.read_text(encoding="utf-8").partition("## Endpoints")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for cell in cells for name in re.findall(r"`(\w+) (/[^`]*)`", cell)]
    assert len(documented) == len(set(documented))
    names = {f"{method} /api/v1{path}" for method, path in documented}
    outside = {f"{method} {path}" for method, path in documented}
    outside = {
        name for name in outside if name.startswith(("GET /accounts/", "GET /user_uploads/"))
    }
    assert routes <= names | outside
    assert {name.replace(" /api/v1/", " /") for name in routes} == {
        name.replace(" /api/v1/", " /") for name in names
    }
