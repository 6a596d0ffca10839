//! Starts another program confined: Landlock, no new privileges, resource limits, a clean environment, chosen descriptors.
