"""fal's queue: messages, polling, and the client that sends them."""
