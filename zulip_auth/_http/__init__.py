"""Send requests. Only this package and the `*_auth` modules import an HTTP library."""
