"""Settling unknown and open submissions against fal's own records."""
