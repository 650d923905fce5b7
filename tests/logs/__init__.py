"""Samples of tools' logs, true to their formats; what they tell is made up."""

from pathlib import Path

FOLDER = Path(__file__).parent
