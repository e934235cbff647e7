"""Export as plain C99: sources, constants, and a check against the network."""
