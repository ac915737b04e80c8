"""Families: small files that turn a config.json into a `ModelSpec`. No torch."""
