"""Route 5: a softmax written by hand between two products, found by following the data."""
