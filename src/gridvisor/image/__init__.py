"""Root filesystems of guests: from a recipe to a cached file, and a look inside any file without mounting it."""
