"""Every option, said once: name, type, default, help, what it may be, where it is kept, which commands show it.

    study.py     what a study is driven by: fields of TuneOptions, StartOptions and Settings
    commands.py  what single commands take beside that
    option.py    what one option carries, and how the classes of options become records
    kinds.py     what a value may be; readers.py makes it of the text of a command line

The command line, `settings.json`, the Python records, their checks and doc/options.md are made from these classes.
To add an option, declare it in study.py or commands.py, and use it.

Nothing here imports dataclasses before a record is made: that alone would be a third of the cost of --help.
"""
