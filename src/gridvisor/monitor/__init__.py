"""What runs domains: one protocol, and the monitors that keep it."""
