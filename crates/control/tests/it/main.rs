//! Actions on a real catalogue and a real node, in a directory of their own.

mod data;
mod encryption;
mod guest;
mod instances;
mod lists;
mod records;
mod refusals;
mod restart;
mod snapshots;
mod tags;
mod time;
mod together;
mod tokens;
mod walker;
mod world;
