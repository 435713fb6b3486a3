"""What a stage came to: verdicts, the incumbent, confirmations at fresh seeds, rungs."""
