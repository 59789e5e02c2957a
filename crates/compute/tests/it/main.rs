//! Guests of the real QEMU (Debian's package qemu-system-x86), which run a boot sector or nothing but firmware.

mod adoption;
mod disks;
mod lives;
mod machine;
