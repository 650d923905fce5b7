"""Usage outside of its database: calls as Parquet files (`export`)."""

from mofa_usage.warehouse.export import ExportOptions, ExportSummary, export_parquet

__all__ = ["ExportOptions", "ExportSummary", "export_parquet"]
