"""What `traces.workloads.dma_churn` is made of: devices, and their mappings."""
