"""python -m zoo.docs [FOLDER]: build the site. See `zoo.docs.site`."""

import sys

from zoo.docs.site import main

if __name__ == "__main__":
    sys.exit(main())
