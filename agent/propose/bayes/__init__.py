"""Bayesian optimisation with a Gaussian process, in numpy alone: few trials, mixed spaces, batches, and its reasons.

Read in this order: space (settings as points of the unit cube), kernel, prior, sampler (hyperparameters), posterior,
acquisition, feasibility, search (candidates and climbs), model (one round of points), proposer (the contract).
"""
