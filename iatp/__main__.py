"""`python -m iatp` is `iatp`."""

import sys

from iatp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
