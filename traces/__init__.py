"""What data is: tables, trace kinds, the store, recorded formats, workload generators."""
