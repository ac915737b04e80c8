"""One file a command; each parses its flags, calls the engine and hands values to the terminal."""
