"""Outcomes on disk: those that wait for the history, those set aside, and for a while those it has."""
