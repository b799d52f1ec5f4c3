"""The endpoints, one module for each kind. Importing them registers them."""

from . import (  # noqa: F401
    browser_login,
    channels,
    events,
    files,
    flags,
    groups,
    logins,
    messages,
    narrows,
    organization,
    presence,
    scheduled,
    storage,
    topics,
    unserved,
    users,
)
