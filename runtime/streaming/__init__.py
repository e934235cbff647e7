"""Streaming: score audio while it arrives."""
