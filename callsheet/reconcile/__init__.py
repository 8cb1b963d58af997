"""Settling what nobody knows: our submissions against fal's own records."""
