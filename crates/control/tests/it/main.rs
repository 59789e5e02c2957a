//! Actions on a real catalogue and a real node, in a directory of their own.

mod data;
mod encryption;
mod events;
mod guest;
mod instances;
mod keys;
mod lists;
mod permissions;
mod ram;
mod records;
mod refusals;
mod restart;
mod snapshots;
mod tags;
mod time;
mod together;
mod tokens;
mod webhooks;
mod world;
