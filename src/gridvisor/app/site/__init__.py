"""The stories of a whole site: up, status, run, check, logs, down, destroy."""
