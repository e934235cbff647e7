"""The Hearing-Aid Audio Quality Index (HAAQI), version 1, without torch."""
