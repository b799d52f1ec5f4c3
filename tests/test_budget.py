"""Limit the size of each package: zulip-auth is meant to be read.

A limit counts lines of code, without blank lines, comments and docstrings. To raise one, change
its row in a commit of its own that explains why.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent.parent / "zulip_auth"
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}

# name: (limit, files, excluded files, reason)
BUDGET = {
    "library": (
        3050,
        ["**/*.py"],
        ["_cli/*.py", "testing/*.py"],
        "Reviewers of a library that handles passwords have to read all of it.",
    ),
    "core": (
        1530,
        ["_api.py", "_client.py", "_exceptions.py", "_retry.py", "_http/*.py", "_responses/*.py"],
        [],
        "Login, retries and error mapping: one afternoon's reading.",
    ),
    "command line": (
        960,
        ["_cli/*.py"],
        [],
        "It parses, prompts, prints and calls the library, without logic of its own.",
    ),
    "testing": (
        1250,
        ["testing/*.py"],
        [],
        "Logins, the loop of bots and controls for tests, not all of Zulip.",
    ),
}


def count_code_lines(source: str) -> int:
    """Count the lines that hold code; an expression that is only a string is a docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def test_count_code_lines() -> None:
    source = '''"""A module.

With two paragraphs."""

# A comment.
TEXT = """one
two"""  # Two lines of code.


class A:
    """A class."""

    x = 1
    """An attribute."""

    def f(
        self,
    ) -> int:
        return 1
'''
    assert count_code_lines(source) == 8


@pytest.mark.parametrize(("limit", "files", "excluded", "reason"), BUDGET.values(), ids=BUDGET)
def test_code_lines(
    limit: int, files: list[str], excluded: list[str], reason: str, record_property: Any
) -> None:
    paths = {path for pattern in files for path in PACKAGE.glob(pattern)}
    paths -= {path for pattern in excluded for path in PACKAGE.glob(pattern)}
    lines = {
        str(path.relative_to(PACKAGE)): count_code_lines(path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    }
    total = sum(lines.values())
    record_property("code lines", f"{total} of {limit}")
    assert total <= limit, f"{total} lines of code, {limit} allowed. {reason} {lines}"


def test_each_module_has_a_budget() -> None:
    counted = {
        path for _, files, _, _ in BUDGET.values() for name in files for path in PACKAGE.glob(name)
    }
    assert counted == set(PACKAGE.rglob("*.py"))
