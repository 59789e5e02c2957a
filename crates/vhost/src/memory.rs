//! The guest's memory, as the front end hands it over.
//!
//! Rings' addresses come as the front end's own; everything in them as the guest's. Every access goes through `vm-memory`, which
//! checks it against the regions.

#![allow(unsafe_code)]

use rustix::fs::SealFlags;
use std::fs::File;
use std::io;
use std::sync::Arc;
use tidemark_env::real::Lent;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion, ReadVolatile,
    VolatileMemoryError, VolatileSlice,
};

/// A guest's memory; requests keep it mapped for as long as they need it.
pub type Memory = Arc<GuestMemoryMmap>;

/// A guest's memory, and where its front end has it.
pub struct Table {
    /// The memory by the guest's addresses.
    pub memory: Memory,
    /// (The front end's address, bytes, the guest's address).
    places: Vec<(u64, u64, u64)>,
}

impl Table {
    /// Maps the regions.
    ///
    /// # Errors
    /// Regions that overlap, reach past their files, or are in files that somebody could shrink.
    pub fn map(regions: &[VhostUserMemoryRegion], files: Vec<File>) -> io::Result<Self> {
        let mut mapped = Vec::with_capacity(regions.len());
        let mut places = Vec::with_capacity(regions.len());
        for (region, file) in regions.iter().zip(files) {
            // The message's fields are packed.
            let (gpa, bytes, user, offset) = (
                region.guest_phys_addr,
                region.memory_size,
                region.user_addr,
                region.mmap_offset,
            );
            let mapping = map_sealed(file, offset, bytes)?;
            let region = GuestRegionMmap::new(mapping, GuestAddress(gpa))
                .ok_or_else(|| io::Error::other("a region of guest memory ends past the last address"))?;
            mapped.push(region);
            places.push((user, bytes, gpa));
        }
        mapped.sort_by_key(vm_memory::GuestMemoryRegion::start_addr);
        let memory = GuestMemoryMmap::from_regions(mapped).map_err(io::Error::other)?;
        Ok(Self {
            memory: Arc::new(memory),
            places,
        })
    }

    /// The guest's address for one of the front end's.
    pub fn guest_address(&self, user: u64) -> Option<GuestAddress> {
        let found = self.places.iter().find_map(|&(start, bytes, gpa)| {
            let at = user.checked_sub(start).filter(|at| *at < bytes)?;
            gpa.checked_add(at)
        });
        found.map(GuestAddress)
    }
}

/// A range of a file that is lent, for `vm-memory` to copy from.
pub struct Taken<'a>(pub &'a mut Lent);

impl ReadVolatile for Taken<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        to: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let guard = to.ptr_guard_mut();
        // SAFETY: the slice is mapped memory of this length for as long as the guard lives, and nobody has a reference into it.
        let copied = unsafe { self.0.copy_to(guard.as_ptr(), to.len()) };
        copied.map_err(VolatileMemoryError::IOError)
    }
}

/// Maps a part of a file that cannot lose it: touching what is not there would end this process, and with it every other disk.
pub fn map_sealed(file: File, offset: u64, bytes: u64) -> io::Result<MmapRegion> {
    match rustix::fs::fcntl_get_seals(&file) {
        Ok(seals) if seals.contains(SealFlags::SHRINK) => {}
        _ => {
            return Err(io::Error::other(
                "shared memory must be a memfd that is sealed against shrinking (with QEMU: memory-backend-memfd,share=on)",
            ));
        }
    }
    let end = offset.checked_add(bytes);
    if end.is_none_or(|end| end > file.metadata().map_or(0, |file| file.len())) {
        return Err(io::Error::other(
            "a region of shared memory reaches past the end of its file",
        ));
    }
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    MmapRegion::from_file(FileOffset::new(file, offset), len).map_err(io::Error::other)
}
