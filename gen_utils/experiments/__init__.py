"""Studies: one experiment over settings and seeds, run or shown as kept; a whole training with its test."""
