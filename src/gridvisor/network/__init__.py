"""Addresses and names of a network (pure), and the namespace, bridge and taps that make one."""
