//! Parts of guest memory that the host's kernel reads and writes by itself.
//!
//! Why unsafe: they are addresses, which outlive the borrow of the memory that they point to. Whoever keeps them keeps the memory.
#![allow(unsafe_code)]

use vm_memory::VolatileSlice;

/// Parts of guest memory, one after the other.
#[derive(Debug, Default)]
pub struct Vectors(Vec<libc::iovec>);

// SAFETY: they are addresses in guest memory, which belongs to no thread.
unsafe impl Send for Vectors {}

impl Vectors {
    /// These parts.
    ///
    /// # Safety
    /// The memory stays mapped for as long as these, and what is made of them, are used.
    pub unsafe fn of(slices: &[VolatileSlice<'_>]) -> Self {
        let part = |slice: &VolatileSlice<'_>| libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() };
        Self(slices.iter().map(part).collect())
    }

    /// How many bytes they have.
    pub fn length(&self) -> usize {
        self.0.iter().map(|part| part.iov_len).sum()
    }

    /// The parts, as system calls take them.
    pub fn parts(&self) -> &[libc::iovec] {
        &self.0
    }

    /// Whether each part's address and length are multiples of this power of two.
    pub fn is_aligned(&self, alignment: usize) -> bool {
        self.0.iter().all(|part| (part.iov_base.addr() | part.iov_len).is_multiple_of(alignment))
    }

    /// Takes this many bytes off their beginning, or all.
    pub fn take(&mut self, length: usize) -> Self {
        let (mut left, mut whole) = (length, 0);
        while let Some(part) = self.0.get(whole).filter(|part| part.iov_len <= left) {
            left -= part.iov_len;
            whole += 1;
        }
        let mut taken: Vec<libc::iovec> = self.0.drain(..whole).collect();
        if let Some(cut) = self.0.first_mut().filter(|_| left > 0) {
            taken.push(libc::iovec { iov_base: cut.iov_base, iov_len: left });
            cut.iov_base = cut.iov_base.cast::<u8>().wrapping_add(left).cast();
            cut.iov_len -= left;
        }
        Self(taken)
    }

    /// The parts, for what takes slices.
    pub fn slices(&self) -> Vec<VolatileSlice<'_>> {
        // SAFETY: the memory is mapped, as `of` demands.
        let slice = |part: &libc::iovec| unsafe { VolatileSlice::new(part.iov_base.cast(), part.iov_len) };
        self.0.iter().map(slice).collect()
    }

    /// Fills them with zeros.
    pub fn clear(&self) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for slice in self.slices() {
            for start in (0..slice.len()).step_by(ZEROS.len()) {
                // The range lies in the slice.
                if let Ok(part) = slice.subslice(start, ZEROS.len().min(slice.len() - start)) {
                    part.copy_from(&ZEROS);
                }
            }
        }
    }

    /// Their bytes, at most this many.
    pub fn read(&self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.length().min(most)];
        let mut left = &mut bytes[..];
        for slice in self.slices() {
            let (now, later) = left.split_at_mut(slice.len().min(left.len()));
            slice.copy_to(now);
            left = later;
        }
        bytes
    }

    /// Writes bytes to their beginning and returns how many there was room for.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        for slice in self.slices() {
            let (now, later) = left.split_at(slice.len().min(left.len()));
            slice.copy_from(now);
            left = later;
        }
        bytes.len() - left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_where_they_are_to_be() {
        let mut memory = [[7_u8; 10], [8; 10]];
        let [first, second] = &mut memory;
        let slices = [VolatileSlice::from(&mut first[..]), VolatileSlice::from(&mut second[..])];
        // SAFETY: the arrays outlive what is made of them.
        let mut all = unsafe { Vectors::of(&slices) };
        assert_eq!(all.length(), 20);
        for (length, parts, left) in [(3, 1, 17), (7, 1, 10), (4, 1, 6), (100, 1, 0), (1, 0, 0)] {
            let taken = all.take(length);
            assert_eq!((taken.parts().len(), all.length()), (parts, left), "{length}");
            taken.clear();
        }
        assert_eq!(memory, [[0; 10]; 2]);
    }

    #[test]
    fn what_is_written_ends_where_the_parts_end() {
        let mut memory = [[0_u8; 3], [0; 3]];
        let [first, second] = &mut memory;
        // SAFETY: as above.
        let all = unsafe { Vectors::of(&[VolatileSlice::from(&mut first[..]), VolatileSlice::from(&mut second[..])]) };
        assert_eq!((all.write(b"1234"), all.write(b"12345678")), (4, 6));
        assert_eq!([all.read(5), all.read(100)], [b"12345".to_vec(), b"123456".to_vec()]);
        assert_eq!(memory, [*b"123", *b"456"]);
        assert!(all.is_aligned(1) && !all.is_aligned(4096));
    }
}
