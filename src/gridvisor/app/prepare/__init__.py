"""A Debian machine made a Xen host: what it is, what is to be done to it, and doing that."""
