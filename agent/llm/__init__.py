"""Talking to language models: one protocol, the providers behind it, and what a call costs."""
