"""What makes a machine out of an image: its name, addresses and keys, as one tar."""
