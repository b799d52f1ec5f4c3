"""The endpoints of the stand-in server."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from zulip_auth.testing import FakeZulip
from zulip_auth.testing.http import Endpoint

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"


def test_documented_endpoints() -> None:
    routes = set()
    for route in FakeZulip().app.routes:
        assert isinstance(route, Route) and isinstance(route.endpoint, Endpoint)
        path = re.sub(r":\w+}", "}", route.path)
        routes |= {f"{method} {path}" for method in route.endpoint.handlers}
    table = PAGE.read_text(encoding="utf-8").partition("## Endpoints")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for cell in cells for name in re.findall(r"`(\w+) (/[^`]*)`", cell)]
    names = [f"{method} /api/v1{path}" for method, path in documented]
    names.append("GET /accounts/login/social/{name}")
    assert len(names) == len(set(names))
    assert set(names) == routes
