"""Choose the proxy for a site: HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

import httpx


def proxy_from_environment(site: str) -> str | None:
    """Return the URL of the proxy for a site, or None."""
    # Imported here, since it takes longer than a login over http.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = httpx.URL(site)
    if proxy_bypass(site.removeprefix("https://")) or _is_bypassed(url.host, proxies.get("no", "")):
        return None
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _is_bypassed(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY lists an IP address or its network, or a URL with the host."""
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    if {f"https://{host}", f"all://{host}"} & set(entries):
        return True
    with suppress(ValueError):
        address = ip_address(host)
        for entry in entries:
            with suppress(ValueError):
                if address in ip_network(entry.strip("[]"), strict=False):
                    return True
    return False
