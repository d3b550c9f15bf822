"""What came of trials, for people and for machines."""
