"""The usage warehouse: a columnar mirror of everybody's calls. Exports, which need no warehouse, are named here too."""

from mofa_usage.exporting import ExportOptions, ExportSummary, export_csv, export_parquet
from mofa_usage.warehouse.metrics import warehouse_families
from mofa_usage.warehouse.summary import SyncSummary, TableSync
from mofa_usage.warehouse.upkeep import Upkeep
from mofa_usage.warehouse.verifying import Verification
from mofa_usage.warehouse.warehouse import Warehouse

__all__ = [
    "ExportOptions",
    "ExportSummary",
    "SyncSummary",
    "TableSync",
    "Upkeep",
    "Verification",
    "Warehouse",
    "export_csv",
    "export_parquet",
    "warehouse_families",
]
