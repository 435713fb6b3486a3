"""An example of what a distribution of yours may bring to Roundtable (doc/plugins.md)."""
