"""A BingX on loopback, for the demo and the tests: as strict as what is known of the real one allows.

Standard library only, and no code shared with ``etl.bingx``: an imitation that shares the signing proves nothing.
"""
