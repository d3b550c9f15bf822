"""Kernel packs: the kernel, initramfs and modules that a monitor boots any image with."""
