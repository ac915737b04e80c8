"""Weights stored in fewer bits: how they are packed, and unpacked."""
