//! The home window: the machines a person has, and what is going on with them.
//!
//! [`Home`] hears the library's events one by one and answers with the lines of the list that have changed, so that a view draws those and
//! nothing else. Finding a machine's line takes a binary search; only another search text looks at all machines again.

mod entry;
mod facts;
mod filter;
mod list;
mod work;

pub use entry::{Entry, Group, Mark, Tone};
pub use facts::{Details, Fact, facts};
pub use filter::{Filter, Tag};
pub use list::{Change, Empty, Home};
pub use work::{Outcome, Work, WorkId, Works};
