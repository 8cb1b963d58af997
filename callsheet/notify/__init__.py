"""Messages to people and to other programs: Apprise and a signed webhook."""
