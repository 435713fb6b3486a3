"""Where proposals come from: the contract, what needs no model, and Optuna's TPE. Nothing heavy is imported here."""
