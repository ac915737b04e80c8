"""`python -m lmtool` is the `lmtool` command."""

from .cli.entry import main

if __name__ == "__main__":
    main()
