"""Attention within windows: where their tokens stand in the sequence, found by following the data."""
