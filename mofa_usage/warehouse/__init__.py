"""Usage outside of its database: calls as Parquet files (`export`)."""

from mofa_usage.warehouse.export import ExportSummary, export_parquet

__all__ = ["ExportSummary", "export_parquet"]
