"""What `traces.workloads.text_patches` is made of: sites, and what is written to them."""
