"""The only writer of the orchestrator's files; knows every path of a study."""
