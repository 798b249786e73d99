"""What tests share: random volumes and trees, servers, clusters, and hosts that are replayed."""
