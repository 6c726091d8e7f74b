"""What is run, in which order: Prefect flows, the command line, SQL over the results."""
