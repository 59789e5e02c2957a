//! The write-ahead log: every change of the disk is a record here before anybody is told of it.

pub mod layout;
mod ring;
pub mod scan;
pub mod segment;
pub mod writer;
