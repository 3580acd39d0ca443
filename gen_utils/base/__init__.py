"""What everything stands on: files, places, the machine, and what a run is. Imports nothing of the project."""
