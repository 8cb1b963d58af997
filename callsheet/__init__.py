"""Callsheet: bulk video within a budget.

Never past the budget, never paid twice, nothing paid for is lost.
"""

__version__ = "0.1.0"
