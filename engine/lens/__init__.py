"""Why the next token is that one: what each layer would answer, gathered and recalled."""
