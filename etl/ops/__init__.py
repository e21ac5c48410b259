"""What an operator has beside the recording: checks, figures, and being told."""
