"""Usage outside of its database: calls as Parquet files and as CSV (`export`)."""

from mofa_usage.exporting.export import ExportOptions, ExportSummary, export_csv, export_parquet

__all__ = ["ExportOptions", "ExportSummary", "export_csv", "export_parquet"]
