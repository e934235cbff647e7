"""The report: its schema, how sections are built, rendered and stored, and comparison of two reports."""

__all__ = [
    "comparison",
    "plots",
    "provenance",
    "published",
    "readme",
    "rendering",
    "schema",
    "section_builder",
    "store",
]
