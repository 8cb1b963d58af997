"""What is to be made: jobs, columns, readers and the plan."""
