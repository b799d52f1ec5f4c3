"""Another client than zulip_auth_client, generated for a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from generate import generate

OPERATIONS = Path(__file__).parent.parent / "data" / "operations.yaml"
PACKAGE = "operations_client"


@contextmanager
def generated_client(directory: Path) -> Iterator[ModuleType]:
    """Generate a client for tests/data/operations.yaml in *directory*, and import it.

    Its endpoints are in `api.items`, such as `api.items.list_items.asyncio_detailed`.
    """
    generate(directory, description=OPERATIONS, package=PACKAGE)
    sys.path.insert(0, str(directory))
    try:
        for name in ("models", "types", "api.items"):
            package = import_module(f"{PACKAGE}.{name}")
        for module in iter_modules(package.__path__):
            import_module(f"{package.__name__}.{module.name}")
        yield sys.modules[PACKAGE]
    finally:
        sys.path.remove(str(directory))
        for name in [*sys.modules]:
            if name.partition(".")[0] == PACKAGE:
                del sys.modules[name]
