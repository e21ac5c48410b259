"""Settings, each with where it came from, and the keys of accounts: all that a person tells the program."""
