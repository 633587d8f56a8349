"""CLINC150's data_full.json as train.csv, val.csv and test.csv (columns text and label), without out-of-scope rows.

python recipes/chain/clinc150_csv.py data_full.json FOLDER
"""

import csv
import json
import sys
from pathlib import Path

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
data = json.loads(source.read_text(encoding="utf-8"))
for split in ("train", "val", "test"):
    with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        rows.writerows(data[split])
