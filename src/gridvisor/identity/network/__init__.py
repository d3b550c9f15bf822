"""A guest's own network configuration, in the form that its image reads: one writer a file, all pure."""
