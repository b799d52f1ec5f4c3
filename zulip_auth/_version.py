"""The version, where the build, the package and the User-Agent read it."""

__version__ = "0.2.0.dev0"
