"""Scaling laws: how loss falls with size, or with size and data, fitted to measured points."""
