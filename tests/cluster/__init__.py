"""A private, real SLURM on this machine for tests: `Cluster` starts it, `stop()` leaves nothing behind."""
