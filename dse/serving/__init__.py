"""Machine x StepWork -> results -> operating points: the only code paid per design and plan."""
