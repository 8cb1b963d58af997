"""Settling unknown and open submissions against fal's own records.

`callsheet.reconcile` is the public function: a package of that name would hide it once it is imported.
"""
