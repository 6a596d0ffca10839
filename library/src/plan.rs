//! What a request for a machine comes to, before anything is made: for whoever shows it to a person first.

use bundle::{Configuration, Problem};
use machine::Offer;

use crate::{CreateSpec, DriveSpec, Result, create_check, create_plan};

/// What a request comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The configuration, without drives. Where the request names no machine, the name is not numbered yet.
    pub configuration: Configuration,
    /// The drives, in boot order.
    pub drives: Vec<DriveSpec>,
    /// Whether its machine type is of this century: systems for it want gigabytes where others want megabytes.
    pub modern: bool,
    /// What a person should know about what was chosen, a sentence each.
    pub notes: Vec<String>,
}

impl CreateSpec {
    /// Everything that keeps the machine from being made, by what it is about: `memory`, `iso`, `disk`, … Looks at the files that are named.
    /// `offer` is what the machine type offers, where that is known ([`crate::Library::offered`]).
    pub fn problems(&self, offer: Option<&Offer>) -> Vec<Problem> {
        let found = |result: Result<()>| result.map_or_else(|error| error.problems().to_vec(), |()| Vec::new());
        let mut problems = found(create_check::check(self));
        problems.extend(offer.map(|offer| found(create_check::check_offer(self, offer))).unwrap_or_default());
        problems
    }

    /// What [`crate::Library::create`] would make of it.
    ///
    /// # Errors
    /// Where an image that is to become an SD card cannot be looked at.
    pub fn plan(&self, offer: Option<&Offer>) -> Result<Plan> {
        let name = self.name.as_deref().unwrap_or_else(|| create_plan::usual_name(self));
        let configuration = create_plan::configuration(self, name, offer);
        let drives = create_plan::drives(self, &configuration, offer)?;
        let notes = offer.map(|offer| create_plan::notes(self, offer)).unwrap_or_default();
        let modern = create_plan::is_modern(self);
        Ok(Plan { configuration, drives, modern, notes })
    }
}
