"""Values in, text out: a table for people, JSON and CSV for programs."""
