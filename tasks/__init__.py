"""Thin Prefect tasks, one step each."""
