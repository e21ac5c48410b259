"""Every slot on the UTC grid: the clock, who started it, what it missed, whether it gets on."""
