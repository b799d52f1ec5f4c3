"""Print the longest stop of the event loop, in seconds, during the first login of the process.

Arguments: site, username, password. A stop is the time between two heartbeats. Time that other
processes took does not count: the CPU time of all threads is another upper bound.
"""

import asyncio
import sys
import time

import zulip_auth


async def measure(task: asyncio.Task[zulip_auth.Credentials]) -> float:
    longest, last = 0.0, (time.perf_counter(), time.process_time())
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter(), time.process_time()
        longest = max(longest, min(now[0] - last[0], now[1] - last[1]))
        last = now
    return longest


async def main() -> None:
    client = zulip_auth.AuthClient(sys.argv[1])
    task = asyncio.create_task(client.login(*sys.argv[2:]))
    print(await measure(task))
    await task


if __name__ == "__main__":
    asyncio.run(main())
