"""ResNet-9 image classifier: CIFAR-10, digits, and a person's own npz files or image folders."""
