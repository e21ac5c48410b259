"""Record, slot by slot, what BingX accounts are worth, into a SQL database that the user owns."""
