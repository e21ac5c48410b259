"""Everything BingX: addresses, signing, the client, what its answers mean. The only home of requests and urllib3."""
