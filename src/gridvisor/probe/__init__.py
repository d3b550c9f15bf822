"""Acceptance probes of a running site: a pytest plugin, its fixtures, and the suites that are shipped."""
