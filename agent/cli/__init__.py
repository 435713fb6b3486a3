"""The command line: parse, wire, print. Nothing here decides."""
