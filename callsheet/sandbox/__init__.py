"""A local server that speaks fal's queue API and renders real MP4s."""
