"""The report: its schema, how sections are built, rendered and stored, and comparison of two reports."""
