"""The command line: the only code that prints or exits. Imports inside its functions keep each command quick."""
