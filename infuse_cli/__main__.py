"""`python -m infuse_cli` is `infuse`."""

from infuse_cli.cli.main import main

if __name__ == "__main__":
    main()
