//! Actions on a real catalogue and a real node, in a directory of their own.

mod copies;
mod data;
mod disks;
mod encryption;
mod groups;
mod guest;
mod images;
mod instances;
mod lists;
mod locks;
mod offer;
mod records;
mod refusals;
mod regions;
mod restart;
mod snapshots;
mod tags;
mod tasks;
mod time;
mod together;
mod tokens;
mod usage;
mod world;
