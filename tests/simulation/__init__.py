"""Deterministic simulation: whole studies in one process, without sleeping, under faults drawn from a seed.

    python -m tests.simulation --rounds 1000 --seed 1

What is real: the engine, its stages, the sbatch launcher with its reader of SLURM's states, the store, the lease, the
files (on /dev/shm), trainers' claims, results and evaluation. What is simulated, and where it enters:

script.py      what goes wrong in one study: a list of faults, drawn from a seed or written down in a test
cluster.py     the jobs and the time: `Cluster.advance` is the only clock
tasks.py       what a task leaves on disk
programs.py    sbatch, squeue, sacct, scancel, scontrol, in place of agent.launch.commands.run
disk.py        a Disk on which the process is killed, finds no room, or meets a second shell
person.py      what people do, and how they mend what stops a study
study.py       the product's Tools, wired to all this
world.py       the loop of one study: befall, look, check, wait
invariants.py  what must hold after each look, when a round closes, and at the end
power.py       a study goes on from what a power cut may leave, behind each of its changes on disk
mutations.py   small mutations of the product, each of which all this must notice
shrink.py      a failing script made short, and printed as a test

Read them in this order. A fault names its place (row 2 of round 1's first attempt; the third sbatch; the 40th change
on disk of the 7th look), and every duration is drawn from the study's seed and the task's own name, so that one fault
that is left out moves no other.

Whoever adds a fault: a name with a weight in script.py, what it does in the module of its place, and nothing else;
the invariants say what it may not lead to. Whoever adds an invariant: a handler `_on_<event>` for what the journal
tells, or a line in `closed` or `end`.
"""
