"""`python -m personalrm` is the command `personalrm`."""

import sys

from personalrm.cli import main

if __name__ == "__main__":
    sys.exit(main())
