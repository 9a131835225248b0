"""Reading embeddings: rows gathered from the memory-mapped store beside JSON lists.

Vectors of width 4,096, equal values first, medians of five with warm file caches. The
store's rows are gathered in random order, as a training step does; the JSON file is read
from front to back, which is all it can do. `look-up` is what `rows` costs for texts that
are there already.

    python benchmarks/embedding_store.py [--rows 4000] [--dim 4096] [--json FILE]
"""

from __future__ import annotations

import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _table import median_of_five, parser_of, write_json
from reference import json_embeddings
from simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Message


def measure(n_rows: int, dim: int, folder: Path) -> dict[str, Any]:
    """Times, rates and sizes."""
    question = (Message("user", "How do I get to the lake?"),)
    sequences = [TextSequence(question, f"By train number {number}.") for number in range(n_rows)]
    store = EmbeddingStore(folder / "store", PlantedEncoder(dim))
    start = time.perf_counter()
    rows = store.rows(sequences)
    filled = time.perf_counter() - start
    matrix = store.matrix()
    file = folder / "embeddings.jsonl"
    json_embeddings.write(file, np.asarray(matrix))
    if not np.array_equal(json_embeddings.read(file), matrix):
        raise SystemExit("the two sides hold different values; times mean nothing")
    order = rows[np.random.default_rng(0).permutation(n_rows)]
    seconds = {
        "store, random rows": median_of_five(lambda: matrix[order]),
        "store, random rows to fp32": median_of_five(lambda: matrix[order].astype(np.float32)),
        "JSON lists": median_of_five(lambda: json_embeddings.read(file)),
        "store, look-up": median_of_five(lambda: store.rows(sequences)),
    }
    sizes = {
        "store": sum(path.stat().st_size for path in (folder / "store").iterdir()),
        "JSON lists": file.stat().st_size,
    }
    return {
        "rows": n_rows,
        "dim": dim,
        "machine": f"{platform.machine()}, python {platform.python_version()}, numpy {np.__version__}",
        "seconds": seconds,
        "rows_per_second": {name: n_rows / value for name, value in seconds.items()},
        "ratio": seconds["JSON lists"] / seconds["store, random rows"],
        "bytes": sizes,
        "note": "the store holds both poolings, the JSON file one; filling took the store "
        f"{filled:.1f} s with a planted encoder",
    }


def main() -> None:
    """Print a table and JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.rows, options.dim, Path(folder))
    print(f"{'':<30}{'rows a second':>16}")
    for name, rate in result["rows_per_second"].items():
        print(f"{name:<30}{rate:>16,.0f}")
    write_json(result, options.json)


if __name__ == "__main__":
    main()
