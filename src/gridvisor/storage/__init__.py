"""Volumes: the block devices of domains, in pools."""
