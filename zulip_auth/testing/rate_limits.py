"""Limits on login attempts and on requests."""

from __future__ import annotations

from attrs import Factory, define


@define(eq=False)
class RateLimiter:
    """A limit on the requests for each key in a sliding window of seconds."""

    limit: int
    window: float
    _times: dict[object, list[float]] = Factory(dict)

    def record(self, key: object, now: float) -> dict[str, str]:
        """Record a request and return the headers that report the limit.

        A request above the limit has the header `Retry-After`. It is not
        recorded, so it does not extend the block.
        """
        times = [time for time in self._times.get(key, []) if time + self.window > now]
        headers, reset = {}, now + self.window
        if len(times) >= self.limit:
            reset = times[-self.limit] + self.window
            headers["Retry-After"] = str(reset - now)
        else:
            times.append(now)
        self._times[key] = times
        remaining = str(self.limit - len(times))
        names = {"Limit": str(self.limit), "Remaining": remaining, "Reset": str(int(reset))}
        return headers | {f"X-RateLimit-{name}": value for name, value in names.items()}

    def reset(self, key: object) -> None:
        """Forget the requests of a key."""
        self._times.pop(key, None)
