//! What the framework says when something fails.

use std::fmt;

use objc2::rc::Retained;
use objc2_foundation::{NSError, NSString, NSURL};
use objc2_foundation::{NSLocalizedFailureReasonErrorKey, NSUnderlyingErrorKey};
use objc2_virtualization::VZErrorDomain;

use crate::error::{Error, ErrorKind, Result};

/// An error of the system, with those below it.
#[derive(Debug)]
pub struct AppleError {
    domain: String,
    code: isize,
    what: String,
    below: Option<Box<AppleError>>,
}

impl fmt::Display for AppleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.what, self.domain, self.code)
    }
}

impl std::error::Error for AppleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.below.as_deref().map(|error| error as &(dyn std::error::Error + 'static))
    }
}

/// Errors below an error that are looked at.
const DEPTH: usize = 8;

impl AppleError {
    fn new(error: &NSError, depth: usize) -> Self {
        let information = error.userInfo();
        // SAFETY: a constant of the system.
        let (reason_key, below_key) = unsafe { (NSLocalizedFailureReasonErrorKey, NSUnderlyingErrorKey) };
        let reason = information.objectForKey(reason_key).and_then(|reason| reason.downcast::<NSString>().ok());
        let what = reason.map_or_else(|| error.localizedDescription().to_string(), |reason| reason.to_string());
        let below = information.objectForKey(below_key).and_then(|error| error.downcast::<NSError>().ok());
        let below = below.filter(|_| depth > 0).map(|error| Box::new(Self::new(&error, depth - 1)));
        Self { domain: error.domain().to_string(), code: error.code(), what, below }
    }
}

/// What it is, by its number (Apple: `VZErrorCode`).
fn kind(error: &NSError) -> ErrorKind {
    // SAFETY: a constant of the framework.
    let is_theirs = unsafe { VZErrorDomain }.is_some_and(|domain| *error.domain() == *domain);
    match error.code() {
        _ if !is_theirs => ErrorKind::Host,
        1 => ErrorKind::Internal,
        2 => ErrorKind::InvalidConfiguration,
        3 | 4 => ErrorKind::InvalidState,
        5 => ErrorKind::InvalidDiskImage,
        7 | 20001 | 20002 => ErrorKind::Network,
        9 => ErrorKind::Cancelled,
        10 => ErrorKind::NotSupported,
        11 => ErrorKind::Save,
        12 => ErrorKind::Restore,
        _ => ErrorKind::Host,
    }
}

/// The error of an attempt.
pub fn failed(attempt: impl Into<String>) -> impl FnOnce(Retained<NSError>) -> Error {
    let attempt = attempt.into();
    move |error| because(attempt, &error)
}

/// The same, of an error that is lent.
pub fn because(attempt: impl Into<String>, error: &NSError) -> Error {
    Error::because(kind(error), attempt, AppleError::new(error, DEPTH))
}

/// A result as completion handlers have it: no error is success.
///
/// # Safety
/// The pointer is null or of an error that lives as long as this runs.
pub unsafe fn result(attempt: &str, error: *mut NSError) -> Result<()> {
    // SAFETY: as above.
    match unsafe { error.as_ref() } {
        None => Ok(()),
        Some(error) => Err(because(attempt, error)),
    }
}

/// A file's address.
pub fn url(path: &std::path::Path) -> Result<Retained<NSURL>> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::new(ErrorKind::InvalidConfiguration, format!("The name of a file is not UTF-8: {}", path.display())))?;
    Ok(NSURL::fileURLWithPath(&NSString::from_str(text)))
}
