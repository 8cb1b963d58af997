"""The life of a job, free of Prefect: admit, submit, watch, collect."""
