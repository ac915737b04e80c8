"""The terminal: commands, options, output. It knows no tensors."""
