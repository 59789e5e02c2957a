//! The real binary, run as a user runs it.

mod command_line;
mod common;
mod doctor;
mod service;
mod volume;
