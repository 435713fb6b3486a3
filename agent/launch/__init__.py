"""The only room that talks to SLURM or starts tasks."""
