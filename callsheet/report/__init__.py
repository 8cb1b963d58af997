"""What a run came to: results, roll-ups, pages."""
