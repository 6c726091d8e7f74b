"""The workload classifier: features, training, evaluation, keeping."""
