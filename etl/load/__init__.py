"""From the spool into the history: what a reading means, and which history that is."""
