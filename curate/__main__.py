"""``python -m curate`` and the script ``curate``: the command line, and what comes before it."""

import signal
import sys


def main() -> None:
    """Run the command line and exit with a code of docs/cli.md."""
    # Imports take a second, in which Python would answer Ctrl-C with a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from curate.cli.app import main as run

    sys.argv[0] = "curate"
    run()


if __name__ == "__main__":
    main()
