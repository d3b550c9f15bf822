"""Where Debian packages come from: the mirror of this machine, and apt with lists of our own."""
