"""`python -m zulip_auth`, which is `zulip-auth`."""

import sys

from ._cli import main as main

if __name__ == "__main__":
    sys.exit(main())
