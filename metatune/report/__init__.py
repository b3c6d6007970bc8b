"""The report of a study: one HTML file that needs nothing else."""

from metatune.report.writing import report as report
from metatune.report.writing import write_report as write_report
