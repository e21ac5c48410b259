from tests.docs.histories import history

__all__ = ["history"]
