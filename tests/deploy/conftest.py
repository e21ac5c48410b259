from tests.docs.conftest import history

__all__ = ["history"]
