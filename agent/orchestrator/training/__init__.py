"""How a round is trained: scripts, submission, retries, cancellation, and the hours that it costs."""
