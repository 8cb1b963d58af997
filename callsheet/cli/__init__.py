"""The command line: the edge where settings are made and exit codes are given."""
