"""User-Mode Linux: every guest is a real Linux kernel in an ordinary process, in a sandbox of its own."""
