"""HTTP over sockets that keep a deadline: connections, TLS, proxies."""
