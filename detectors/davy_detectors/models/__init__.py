"""Which models there are, by which name they are counted, what is known of them, and when they are over."""
