"""Clean music: recorded clips, rendered scores and synthetic pieces."""
