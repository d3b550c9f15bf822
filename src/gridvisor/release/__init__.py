"""Releases on trial: what a candidate names, its packages frozen, and the lock that says which they are."""
