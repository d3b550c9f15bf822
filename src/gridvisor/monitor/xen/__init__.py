"""Xen, driven with `xl` in its dom0."""
