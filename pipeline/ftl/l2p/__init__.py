"""The drive's logical-to-physical map where it does not fit into DRAM, and how large a cache of it must be."""
