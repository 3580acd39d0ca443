"""The teaching kit: the tables of ``book/teaching/`` as pages. The package itself holds no question and no answer."""
