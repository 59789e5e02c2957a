//! Snapshots in a bucket: chunks, packs, tree, heads, verify, sweep.
