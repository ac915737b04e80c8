"""Grammars that a text can be held to: read, checked and told to llguidance. No torch."""
