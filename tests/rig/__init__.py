"""The rig: attacks Callsheet with kills, bad replies, power cuts and crowds, and counts what went wrong.

`python -m tests.rig` prints one table of figures; `--quick` does the same with small numbers.
"""
