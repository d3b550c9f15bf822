"""gridvisor: a whole Grid site on paravirtual machines, from one file."""

__version__ = "0.1.0"
