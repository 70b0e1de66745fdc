"""What a cascade really takes on this machine: one interleaved run, and what it records."""
