"""The sections of the report, one module each, and the implementations that they measure."""
