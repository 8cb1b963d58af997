"""Draws and encodes the sandbox's videos: real MP4s, cheap enough to make ten at a time on a laptop."""
