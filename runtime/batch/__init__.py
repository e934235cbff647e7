"""Many files: prefetching, requests, and parallel processes on one machine or a cluster."""
