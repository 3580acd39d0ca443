"""Exercise checks, one file a part."""
