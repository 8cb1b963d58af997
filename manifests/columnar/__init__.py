"""The same check and the same prices for many rows at once, column by column, over Arrow."""
