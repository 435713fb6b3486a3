"""Informer (Zhou et al., AAAI 2021): forecasting long stretches of time series."""
