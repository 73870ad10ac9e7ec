"""Run the command line: ``python -m ketpredict``."""

from ketpredict.cli import main

if __name__ == "__main__":
    main()
