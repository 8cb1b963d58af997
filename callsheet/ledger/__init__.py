"""The truth about money, slots and outcomes."""
