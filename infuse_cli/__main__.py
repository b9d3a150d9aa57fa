"""`python -m infuse_cli` is the program itself."""

from infuse_cli.cli.main import main

main()
