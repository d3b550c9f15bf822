"""Trials: a candidate release is tried on a site of its own, and judged."""
