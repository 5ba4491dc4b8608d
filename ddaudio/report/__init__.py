"""What a fit found out: data, pages, figures."""

from ddaudio.report import figures, notebook
from ddaudio.report.contents import build, settings_hash, summary
from ddaudio.report.gallery import Outcome, write_pages
from ddaudio.report.page import page, write_page

__all__ = ["Outcome", "build", "figures", "notebook", "page", "settings_hash", "summary", "write_page", "write_pages"]

notebook.register()
