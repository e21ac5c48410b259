"""Files in which history leaves and comes back. Values and lines: no database."""
