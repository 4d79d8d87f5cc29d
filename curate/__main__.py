"""``python -m curate`` is the command ``curate``."""

import sys

from curate.cli import main

if __name__ == "__main__":
    sys.argv[0] = "curate"
    main()
