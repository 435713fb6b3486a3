"""What decides: rounds, proposals, scripts, submission and reports. Never imports torch."""
