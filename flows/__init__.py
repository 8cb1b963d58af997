"""The order of steps: Prefect flows and nothing else."""
