"""What `traces.workloads.pci_scan` is made of: a machine's functions, and firmware and kernel that look for them."""
