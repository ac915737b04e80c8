"""The one decoder, part by part; it sees a spec and weights, and nothing else of the engine."""
