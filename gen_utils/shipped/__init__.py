"""The models that ship: their registry, how they draw, how their cards are measured again, and the judges."""
