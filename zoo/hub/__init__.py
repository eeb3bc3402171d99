"""Models that come with the package, how they are made again, and folders on the hub."""
