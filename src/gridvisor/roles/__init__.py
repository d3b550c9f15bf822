"""The roles that gridvisor ships, one folder each, and how their trees become the files of a machine."""
