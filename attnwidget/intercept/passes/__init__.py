"""Passes that continue one another over one cache, as generate() makes them, joined into one map."""
