"""What `traces.workloads.vm_life` is made of: a guest, its drive, and the phases of its life."""
