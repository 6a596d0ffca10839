//! An export as imago wants what is behind an image.
//!
//! Why unsafe: imago's trait has methods that are, for what its own locks promise their callers; nothing is done here that needs it.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::sync::Arc;

use imago::Storage;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::drivers::CommonStorageHelper;

use super::NbdClient;

/// The export.
#[derive(Debug)]
pub(crate) struct NbdStorage {
    client: Arc<NbdClient>,
    helper: CommonStorageHelper,
}

impl NbdStorage {
    /// That of a client.
    pub fn new(client: Arc<NbdClient>) -> Self {
        Self { client, helper: CommonStorageHelper::default() }
    }
}

impl fmt::Display for NbdStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.client)
    }
}

impl Storage for NbdStorage {
    fn req_align(&self) -> usize {
        self.client.export().block as usize
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.client.export().size)
    }

    unsafe fn pure_readv(&self, mut room: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        // No longer than a request of the guest.
        let mut bytes = vec![0; room.len() as usize];
        self.client.read(offset, &mut bytes)?;
        room.copy_from_slice(&bytes);
        Ok(())
    }

    unsafe fn pure_writev(&self, data: IoVector<'_>, offset: u64) -> io::Result<()> {
        let mut bytes = vec![0; data.len() as usize];
        data.copy_into_slice(&mut bytes);
        self.client.write(offset, &bytes)
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.client.write_zeroes(offset, length, true)
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.client.write_zeroes(offset, length, false)
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.client.discard(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.client.flush()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }
}
