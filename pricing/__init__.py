"""What a job costs: pure arithmetic on dated data, no input or output beyond the package's own files."""
