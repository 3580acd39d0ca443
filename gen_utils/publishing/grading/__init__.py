"""Grading: the exercises of students' notebooks are run again, each under its check, away from everything else."""
