"""The KV cache: what attention remembers, behind one protocol."""
