"""Stand-ins for other packages: programs written for them run by changing an import."""
