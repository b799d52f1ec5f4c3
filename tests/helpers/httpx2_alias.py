"""Run the tests with httpx2 in place of httpx: `make test-httpx2`."""

import httpx2

httpx2.alias_httpx()
