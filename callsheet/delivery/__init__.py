"""Handing finished clips over: videos under names of one's own, with all that is known of them."""
