"""A Xen host in QEMU, for a machine that has none."""
