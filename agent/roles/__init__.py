"""The parts in a round: who looks at what, and what is done with the answer. Rule-based where no model is used."""
