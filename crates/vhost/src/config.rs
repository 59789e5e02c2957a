//! What is offered: feature bits, limits, and the configuration space that says so to the guest.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Most queues of a disk; a front end uses as many as it likes, usually one for each processor of the guest.
pub const QUEUES_MAX: u16 = 64;
/// Most entries of a queue.
pub const QUEUE_SIZE_MAX: u16 = 1024;
/// The unit of the virtio block device, whatever the disk's blocks are.
pub const SECTOR_BYTES: u64 = 512;
/// Most bytes that one request may read or write.
pub const REQUEST_BYTES_MAX: u64 = 32 << 20;
/// Most pieces of a request's data, and the most bytes of one. A driver that keeps to both never meets [`REQUEST_BYTES_MAX`].
pub const SEGMENTS_MAX: u32 = 126;
/// See [`SEGMENTS_MAX`].
pub const SEGMENT_BYTES_MAX: u32 = 256 << 10;
/// Most ranges of one discard or one write of zeros.
pub const RANGES_MAX: u32 = 32;
/// Most sectors of each such range: 2 GiB.
pub const RANGE_SECTORS_MAX: u32 = 1 << 22;
/// Bytes of configuration space that a front end may ask for; those that mean nothing are zeros.
pub const CONFIG_BYTES: usize = 256;

const _: () = assert!(SEGMENTS_MAX as u64 * SEGMENT_BYTES_MAX as u64 <= REQUEST_BYTES_MAX);

/// The device's feature bits.
pub const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_BLK_F_SIZE_MAX
    | 1 << VIRTIO_BLK_F_SEG_MAX
    | 1 << VIRTIO_BLK_F_BLK_SIZE
    | 1 << VIRTIO_BLK_F_FLUSH
    | 1 << VIRTIO_BLK_F_TOPOLOGY
    | 1 << VIRTIO_BLK_F_MQ
    | 1 << VIRTIO_BLK_F_DISCARD
    | 1 << VIRTIO_BLK_F_WRITE_ZEROES
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// The protocol's feature bits.
pub fn protocol_features() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::INFLIGHT_SHMFD
}

/// The configuration space of a disk of that size: `struct virtio_blk_config`, little-endian.
pub fn space(size_bytes: u64) -> [u8; CONFIG_BYTES] {
    let mut space = [0; CONFIG_BYTES];
    let mut put = |at: usize, value: &[u8]| space[at..at + value.len()].copy_from_slice(value);
    put(0, &(size_bytes / SECTOR_BYTES).to_le_bytes()); // capacity
    put(8, &SEGMENT_BYTES_MAX.to_le_bytes()); // size_max
    put(12, &SEGMENTS_MAX.to_le_bytes()); // seg_max
    put(20, &(SECTOR_BYTES as u32).to_le_bytes()); // blk_size
    // Smaller writes work, but each costs a read: the disk's blocks are 8 sectors, its chunks 128.
    put(24, &[3, 0]); // physical_block_exp, alignment_offset
    put(26, &8u16.to_le_bytes()); // min_io_size
    put(28, &128u32.to_le_bytes()); // opt_io_size
    put(34, &QUEUES_MAX.to_le_bytes()); // num_queues
    put(36, &RANGE_SECTORS_MAX.to_le_bytes()); // max_discard_sectors
    put(40, &RANGES_MAX.to_le_bytes()); // max_discard_seg
    put(44, &8u32.to_le_bytes()); // discard_sector_alignment
    put(48, &RANGE_SECTORS_MAX.to_le_bytes()); // max_write_zeroes_sectors
    put(52, &RANGES_MAX.to_le_bytes()); // max_write_zeroes_seg
    put(56, &[1]); // write_zeroes_may_unmap
    space
}
