"""The zoned drive: zones written in order, buffers for writes that come too early, what the host has released."""
