"""What the shipped PyTorch trainers share: checkpoints, devices, the loop that stops and goes on, curves."""
