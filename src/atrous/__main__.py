"""`python -m atrous` is the command `atrous`."""

from atrous.cli import main

if __name__ == "__main__":
    main()
