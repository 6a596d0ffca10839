//! The machines a person has: found, watched, created, imported, cloned, deleted.
