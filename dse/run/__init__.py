"""A run: designs, what the evaluator found of them, and where both came from."""
