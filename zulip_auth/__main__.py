"""The process of `zulip-auth`, which is `python -m zulip_auth`."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
