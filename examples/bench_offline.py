"""The benchmark end to end without a network: Table 3's judges, scaling curve, transfer matrix, families.

Serves three scripted models (they follow a rule, they are no language models), runs
`bench_offline.yaml` and prints what to do next. Run it again and it finishes at once.
"""

import sys
from pathlib import Path

from personalrm.cli import main
from personalrm.testing import THREE_MODELS, served

home = sys.argv[1] if len(sys.argv) > 1 else "personalrm-home"
with served(THREE_MODELS) as urls:
    places = [f"--model-url={label}={url}" for label, url in urls.items()]
    run_file = str(Path(__file__).with_name("bench_offline.yaml"))
    sys.exit(main(["bench", "run", "-c", run_file, "--home", home, *places]))
