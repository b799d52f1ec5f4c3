// Run the tests that need no sockets and no processes on CPython 3.14 (`make test-3.14`).
//
// The npm package pyodide is CPython 3.14 as WebAssembly. It has no sockets, no processes and no
// blocking event loop, so tests that are coroutines or use a server are left out.
//
// Arguments: the directory with pyodide, the directory with packages, and arguments of pytest.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [directory, packages, ...argv] = process.argv.slice(2);
const entry = resolve(directory, "node_modules/pyodide/pyodide.mjs");
const { loadPyodide } = await import(pathToFileURL(entry).href);

const modules = [
  "cli_login_methods", "cli_output", "cli_parser", "exceptions", "redaction",
  "errors", "operations", "retry", "site", "sso", "validation",
].map((name) => `tests/test_${name}.py`);

const python = await loadPyodide({ env: { HOME: "/tmp" } });
python.mountNodeFS("/repository", process.cwd());
python.mountNodeFS("/packages", resolve(packages));
python.globals.set("argv", python.toPy([...modules, ...argv]));
const code = python.runPython(`
import inspect
import os
import sys

sys.dont_write_bytecode = True
sys.path[:0] = ["/packages", "/repository", "/repository/generated"]
os.chdir("/repository")

import pytest

SERVERS = {"browser", "cli", "fake_zulip", "home", "server"}


class WithoutServers:
    def pytest_collection_modifyitems(self, config, items):
        selected = [
            item
            for item in items
            if not inspect.iscoroutinefunction(item.function)
            and not SERVERS & set(item.fixturenames)
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in selected])
        items[:] = selected


print("Python", sys.version.split()[0], "on", sys.platform)
options = [
    "-q", "-m", "not slow", "-p", "no:cacheprovider", "-o", "timeout=0",
    # They need a stack, a thread or an event loop.
    "-k", "not nested and not keyboard and not signal_cancels and not host_name_that",
]
int(pytest.main([*options, *argv], plugins=[WithoutServers()]))
`);
process.exit(code);
