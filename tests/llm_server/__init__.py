"""A model provider on loopback: five wire formats, for the real SDK clients, answering as well or badly as told.

behaviours      what the server does with one request, named independently of any wire format
asked           what a request asks, read from any of the wire formats
wires           a behaviour written as each API would write it
server          the HTTP server: takes requests, keeps them for assertions, answers as programmed
scripted_study  functions of the request that answer as the agents of a study would, and a seeded schedule of faults
fixtures        pytest fixtures
"""
