//! Actions on a real catalogue and a real node, in a directory of their own.

mod data;
mod encryption;
mod guest;
mod instances;
mod lists;
mod policies;
mod records;
mod refusals;
mod restart;
mod schedules;
mod snapshots;
mod tags;
mod time;
mod together;
mod tokens;
mod world;
