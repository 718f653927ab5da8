"""HTTP to upstreams: one small contract, the hot-path client, and the general transport for HTTP/2 and proxies."""
