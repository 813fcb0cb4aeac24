"""`TOOLCHAIN_PYTHON run_plain_olive.py CONFIG ...`: Olive's workflows as they are, in one process."""

import json
import sys
from pathlib import Path

from olive.workflows import run

for config in sys.argv[1:]:
    run(json.loads(Path(config).read_text()))
