"""The press: from the notebooks to the book, the student edition and the grade book. Only ``cli`` calls it."""
