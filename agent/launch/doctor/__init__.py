"""What `roundtable doctor` looks at outside Roundtable: one module for each thing, findings out, nothing changed.

Reading a cluster's answers is pure (text in, findings out); the few functions that ask or try something say so.
"""
