"""How often is it right on choices it has not seen, and is that this person's taste or anybody's?"""

from personalrm import example_path, read_pairs
from personalrm.bench import evaluate
from personalrm.datasets import hold_out

held_out = hold_out(read_pairs(example_path()).values())
evaluation = evaluate(held_out, methods=("longer", "population", "shuffled_user", "personal"))
for row in evaluation.rows:
    print(f"{row.method:14} {row.accuracy.line()}")
