"""Files and archives to records: containers, encodings, JSON, CSV, Parquet."""
