//! Actions on a real catalogue and a real node, in a directory of their own.

mod copies;
mod data;
mod encryption;
mod guest;
mod instances;
mod lists;
mod policies;
mod records;
mod refusals;
mod regions;
mod restart;
mod schedules;
mod snapshots;
mod tags;
mod tasks;
mod time;
mod together;
mod tokens;
mod world;
