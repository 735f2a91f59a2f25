"""Pictures: matplotlib on tidy frames. Nothing here knows a result class."""
