"""One slot from the exchange: whom to ask, when again, what to doubt, and exactly one outcome for each account."""
