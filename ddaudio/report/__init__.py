"""Reports: saved fits, pages, figures and playback."""

from ddaudio.report import figures, notebook
from ddaudio.report.gallery import Outcome, write_pages
from ddaudio.report.page import page, write_page
from ddaudio.results.report_json import build, settings_hash
from ddaudio.results.summary import summary

__all__ = ["Outcome", "build", "figures", "notebook", "page", "settings_hash", "summary", "write_page", "write_pages"]

notebook.register()
