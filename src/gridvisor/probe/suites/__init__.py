"""The shipped probes: a file for each role, one for every machine, one for the site as a whole."""
