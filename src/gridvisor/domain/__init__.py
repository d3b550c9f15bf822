"""A domain as Xen describes one: the model, and its configuration file in xl's and xm's syntax."""
