"""The stories: one function per verb, whose body is the list of its steps."""
