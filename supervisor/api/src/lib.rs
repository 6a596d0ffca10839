//! How to find a machine's supervisor and speak with it: paths, wire types, client.
