"""`python -m repana` is the `repana` command."""

from repana.cli import main

if __name__ == "__main__":
    main()
