"""nnU-Net v2 whose training is set by a hyperparameter reference; with its defaults it is exactly stock nnU-Net."""
