"""What only a GPU can tell, in stages of at most four minutes each: see README.md."""
