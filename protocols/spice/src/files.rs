//! Files on their way to the guest's agent.

use crate::agent::Agent;
use crate::ffi;
use crate::news::Teller;
use crate::{Error, Result};
use machine::exchange::Transfer;
use spice::gio;
use spice::gio::prelude::*;
use spice::glib;
use spice_client_glib as spice;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Files that may be on their way at once.
const MAX_FILES: usize = 64;

struct Sending {
    path: PathBuf,
    cancel: gio::Cancellable,
    transfer: Transfer,
}

type Underway = Rc<RefCell<BTreeMap<u64, Sending>>>;

/// All of them.
pub struct Files {
    underway: Underway,
    teller: Teller,
}

impl Files {
    pub fn new(teller: Teller) -> Self {
        Self { underway: Underway::default(), teller }
    }

    /// The main channel is there: tells how far its transfers are.
    pub fn watch(&self, main: &spice::MainChannel) {
        let (underway, teller) = (Rc::downgrade(&self.underway), self.teller.clone());
        main.connect_new_file_transfer(move |_, task| {
            let Some(task) = task.downcast_ref::<spice::FileTransferTask>() else { return };
            let (underway, ended, teller) = (underway.clone(), underway.clone(), teller.clone());
            let progress = move |task: &spice::FileTransferTask| {
                let path = task.file().and_then(|file| file.path());
                let Some(underway) = underway.upgrade() else { return };
                let mut underway = underway.borrow_mut();
                let mine = underway.values_mut().find(|sending| Some(&sending.path) == path.as_ref());
                if let Some(sending) = mine {
                    sending.transfer.sent = task.transferred_bytes();
                    sending.transfer.total = task.total_bytes();
                    teller.transfer(sending.transfer.clone());
                }
            };
            task.connect_progress_notify(progress);
            let underway = ended;
            // Its argument is null for one that arrived, which the bindings' own handler does not take.
            task.connect_local("finished", false, move |values| {
                let said = values.get(1).and_then(|value| value.get::<Option<glib::Error>>().ok()).flatten();
                let file = values.first().and_then(|value| value.get::<spice::FileTransferTask>().ok()).and_then(|task| task.file());
                let path = file.and_then(|file| file.path());
                if let (Some(said), Some(underway)) = (said, underway.upgrade()) {
                    let mut underway = underway.borrow_mut();
                    if let Some(sending) = underway.values_mut().find(|sending| Some(&sending.path) == path.as_ref()) {
                        // The operation itself only counts how many failed.
                        sending.transfer.error = Some(said.message().to_owned());
                    }
                }
                None
            });
        });
    }

    pub fn send(&self, agent: &Agent, id: u64, path: &Path) -> Result<()> {
        let main = agent.main()?;
        if self.underway.borrow().len() >= MAX_FILES {
            return Err(Error::Refused { what: "send a file", said: format!("{MAX_FILES} others are on their way") });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let transfer = Transfer { id, name, sent: 0, total: 0, done: false, error: None };
        let cancel = gio::Cancellable::new();
        self.underway.borrow_mut().insert(id, Sending { path: path.to_owned(), cancel: cancel.clone(), transfer });
        let (underway, teller) = (self.underway.clone(), self.teller.clone());
        ffi::copy_file(&main, &gio::File::for_path(path), &cancel, move |copied| {
            let Some(Sending { mut transfer, .. }) = underway.borrow_mut().remove(&id) else { return };
            transfer.done = true;
            match copied {
                Ok(()) => transfer.sent = transfer.total,
                Err(error) => drop(transfer.error.get_or_insert_with(|| error.message().to_owned())),
            }
            teller.transfer(transfer);
        });
        Ok(())
    }

    pub fn cancel(&self, id: u64) -> Result<()> {
        let underway = self.underway.borrow();
        let sending = underway.get(&id).ok_or_else(|| Error::NotFound { what: "file on its way with the number", name: id.to_string() })?;
        let cancel = sending.cancel.clone();
        drop(underway);
        cancel.cancel();
        Ok(())
    }
}
