"""``python -m ddaudio_cli`` is the command ``ddaudio``."""

import sys

from . import main

sys.exit(main())
