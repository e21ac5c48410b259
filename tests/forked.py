"""Processes for functions of the tests, forked from one that has imported the libraries and done nothing else."""

import multiprocessing

from tests.cli.warm import LIBRARIES

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([*LIBRARIES, "hypothesis", "pytest"])
