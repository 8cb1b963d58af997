"""Finished videos: what a file really holds, and how it gets to its final name."""
