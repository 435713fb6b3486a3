"""The soak: many rounds of a training that does nothing, on a private real SLURM, under faults drawn by a seed.

    python -m tests.soak --rounds 200 --seed 7

plan.py        which faults befall which round: a function of seed and round number alone
trainer/       the training and what happens to its rows
shims.py       programs in front of SLURM's own that count calls and let sbatch fail
driver.py      calls the orchestrator in processes of their own, and kills them
soak.py        one round after another: calls, daemons, late results
invariants.py  what must hold after every round and at the end
replay.py      the state that journal and disk give, derived again and again
"""
