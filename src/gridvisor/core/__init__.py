"""What everything rests on; imports nothing else of ours."""
