"""`python -m skdal.cli`."""

import sys

from skdal.cli import main

sys.exit(main())
