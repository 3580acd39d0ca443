"""The teaching kit: what its tables in ``book/teaching/`` say, as pages. The questions themselves are not in the package."""
