"""The benches of the book: parts of its pages that compute with the shipped models, in the reader's browser."""
