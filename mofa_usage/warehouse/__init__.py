"""The usage warehouse: a columnar mirror of everybody's calls. Exports, which need no warehouse, are named here too."""

from mofa_usage.exporting import ExportOptions, ExportSummary, export_csv, export_parquet

__all__ = ["ExportOptions", "ExportSummary", "export_csv", "export_parquet"]
