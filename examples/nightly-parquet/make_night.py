"""Write tonight's manifest: 40 short clips as Parquet, the way a data pipeline hands them over.

python make_night.py && callsheet run night.parquet --budget-usd 5 --yes --json
"""

import pyarrow as pa
import pyarrow.parquet as pq

CITIES = ["Lisbon", "Oslo", "Kyoto", "Quito", "Tunis", "Perth", "Leeds", "Turin"]
MOODS = ["at dawn", "in the rain", "at noon", "under snow", "at night"]

rows = [
    {
        "custom_id": f"{city.lower()}-{number}",
        "prompt": f"The skyline of {city} {mood}. [Pan right]",
        "model": "seedance-1.0-pro-fast",
        "resolution": "480p",
        "duration": 2,
        "seed": 1000 * index + number,
        "region_code": city[:2].upper(),
    }
    for index, city in enumerate(CITIES)
    for number, mood in enumerate(MOODS)
]
pq.write_table(pa.Table.from_pylist(rows), "night.parquet")
