"""Any program as a trainer: one YAML file says how it is run, what may be varied and where its summary is.

description.py   reads and checks the YAML; its frozen JSON form is what a study keeps
run.py           train() and test(): the program's process, its summary, its failures
probe.py         python -m trainers.command.probe TRAINER.json: can this environment run the program at all?
"""
