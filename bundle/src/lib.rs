//! `.utm` bundles on disk: configuration, migration, validation, atomic save.
