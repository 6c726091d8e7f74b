"""Generators of memory accesses, one a file."""
