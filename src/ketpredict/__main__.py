"""Run the command line: ``ketpredict``, or ``python -m ketpredict``."""

from ketpredict.leaving import leave_on_signals


def main() -> None:
    """Run the command line; from its first moment on, Ctrl-C ends it in one line."""
    leave_on_signals()
    from ketpredict.cli import main as run

    run()


if __name__ == "__main__":
    main()
