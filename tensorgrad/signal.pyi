"""Generated from the registry by tests/stubs.py; do not edit."""
