"""``python -m dse``."""

import sys

from dse.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
