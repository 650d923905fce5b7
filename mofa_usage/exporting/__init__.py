"""Usage outside of its database: calls as Parquet files and as CSV (`export`), and exports that grow (`windows`)."""

from mofa_usage.exporting.checking import ExportCheck, Flaw, verify_export
from mofa_usage.exporting.export import ExportOptions, ExportSummary, export_csv, export_parquet
from mofa_usage.exporting.manifest import ExportedFile, Manifest, Sums
from mofa_usage.exporting.windows import HOLD_BACK, export_window, exported_windows

__all__ = [
    "HOLD_BACK",
    "ExportCheck",
    "ExportOptions",
    "ExportSummary",
    "ExportedFile",
    "Flaw",
    "Manifest",
    "Sums",
    "export_csv",
    "export_parquet",
    "export_window",
    "exported_windows",
    "verify_export",
]
