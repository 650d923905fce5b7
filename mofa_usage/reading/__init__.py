"""Any source of calls, read as exact and typed frames.

`open` says what a source is and opens it; `columns` what a frame of calls holds and how values become it; `selection`
which calls are wanted. A source is a `database` (read by its driver in `drivers/`), a DuckDB `relation` (Parquet files
are one) or a Polars `frame`.
"""
