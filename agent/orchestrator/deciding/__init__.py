"""What the next round tries: diagnosis, proposals, checks, and the recorded exchanges with language models."""
