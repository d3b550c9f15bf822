"""`python -m gridvisor`."""

from gridvisor.cli.main import main

main()
